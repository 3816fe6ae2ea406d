"""What all commands need to run: processes, locks, time, traffic and the state in `var/`.

child_processes.py: start and end child processes
run_command.py: run a command to its end, or end it
interrupts.py: end a command on SIGTERM and SIGHUP as on Ctrl-C
waiting.py: wait until a condition holds
server_health.py: wait for servers, check child processes
prefect_commands.py: the flows' names, and the commands of Prefect's server, runner and worker
exclusive.py: one run at a time, and free ports
page_guard.py: keep pages of others out of ours, and our pages from asking other machines
stage_command.py: run a stage of `dvc.yaml`, parse times, exit on errors
clock.py: the simulated time of scheduled flows
traffic.py: send real cases to the service
retention.py: remove what is past its retention
upgrade.py: upgrade the state of an older version or of a moved home
embedded_databases.py, schema_revisions.py: migrate the databases of MLflow and Prefect
"""
