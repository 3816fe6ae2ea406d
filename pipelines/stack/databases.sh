#!/bin/bash
# Creates a database for each server, with a user that owns it and can reach no other. Postgres' image
# runs this on an empty volume, before it listens on the network.
set -euo pipefail

make_database() { # NAME PASSWORD
  psql --quiet --username "$POSTGRES_USER" --dbname postgres \
    --variable ON_ERROR_STOP=1 --variable name="$1" --variable password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

make_database mlflow "$MLFLOW_DB_PASSWORD"
make_database prefect "$PREFECT_DB_PASSWORD"
make_database feast "$FEAST_DB_PASSWORD"
