"""The Prefect flows of the loop, their deployments and runs, and one turn of the loop.

flows.py: the six flows and the order of their steps
tasks.py: the steps as Prefect tasks, and which of them are retried
deployments.py: schedules, the retraining event, the runner and the worker
worker.py: Prefect's worker as a process
flow_runs.py: find and follow flow runs
leftover_runs.py: end the runs of killed processes
turn.py: `mlops run` and `mlops train`
turn_steps.py, turn_rollout.py: the steps of a turn, and its shadow and canary days
turn_addresses.py: where a browser finds what a turn made
processes.py: the processes that a turn starts and ends
journal.py: the console output of a turn
"""
