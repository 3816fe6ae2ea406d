#!/bin/bash
# Checks that each server's user can query its own database over the network, as the server does.
set -euo pipefail

answers() { # NAME PASSWORD
  PGPASSWORD=$2 PGCONNECT_TIMEOUT=3 psql --quiet --no-align --tuples-only \
    --host 127.0.0.1 --username "$1" --dbname "$1" \
    --command 'SELECT count(*) >= 0 FROM pg_class' | grep -qx t
}

answers mlflow "$MLFLOW_DB_PASSWORD"
answers prefect "$PREFECT_DB_PASSWORD"
answers feast "$FEAST_DB_PASSWORD"
