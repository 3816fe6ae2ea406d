"""Scripts of the Compose stack (`docker-compose.yml`): secrets, health, backup and restore.

addresses.py: prints the address of each service (`make up`)
env.py: writes `.env` with new secrets
keys.py: creates and rotates the keys that sign releases
healthy.py: the health check of the containers
schema.py: migrates MLflow's database, checks Prefect's, then starts the server
databases.sh, databases-healthy.sh: create and check the databases in Postgres
backup.py, restore.py: `make backup` and `make restore`
backup_folder.py: the files of a backup and their verification
docker_engine.py: the commands of the engine, and how they run
facts.py: counts what a backup holds, inside a container
"""
