"""Print the address of each service of the running stack (`make up`)."""

from __future__ import annotations

import json
import subprocess

DESCRIPTIONS = {  # by service and its own port
    ("proxy", 8080): "Predictions (POST /predict)",
    ("mlflow", 5000): "MLflow: runs, models, lineage",
    ("prefect", 4200): "Prefect: flows, automations",
    ("evidently", 8000): "Evidently: drift over time",
    ("pages", 9090): "Prometheus: metrics, rules",
    ("pages", 9093): "Alertmanager: alerts",
    ("api-staging", 3000): "Predictions of staging",
    ("grafana", 3000): "Grafana: dashboards (user admin, password in .env)",
}


def list_addresses(listed: str) -> list[str]:
    """Return a line for each published port of `docker compose ps --format json`."""
    # One object on each line since Compose 2.21, one array before.
    rows = json.loads(listed) if listed.startswith("[") else map(json.loads, listed.splitlines())
    return [
        f"http://localhost:{port['PublishedPort']:<6} "
        f"{DESCRIPTIONS.get((row['Service'], port['TargetPort']), row['Service'])}"
        for row in rows
        for port in row.get("Publishers") or []
        if port["PublishedPort"]
    ]


if __name__ == "__main__":
    command = ["docker", "compose", "ps", "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    print("\n".join(sorted(list_addresses(run.stdout))))
    print("The passwords are in .env. Next: make run-stack, one turn of the loop.")
