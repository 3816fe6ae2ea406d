"""Print the address of each service of the running stack (`make up`)."""

from __future__ import annotations

import json
import subprocess

DESCRIPTIONS = {
    "proxy": "Predictions (POST /predict)",
    "mlflow": "MLflow: runs, models, lineage",
    "prefect": "Prefect: flows, automations",
    "evidently": "Evidently: drift over time",
    "prometheus": "Prometheus: metrics, rules",
    "alertmanager": "Alertmanager: alerts",
    "api-staging": "Predictions of staging",
    "grafana": "Grafana: dashboards (user admin, password in .env)",
}


def list_addresses(listed: str) -> list[str]:
    """Return a line for each published port of `docker compose ps --format json`."""
    # One object on each line since Compose 2.21, one array before.
    rows = json.loads(listed) if listed.startswith("[") else map(json.loads, listed.splitlines())
    return [
        f"http://localhost:{port['PublishedPort']:<6} "
        f"{DESCRIPTIONS.get(row['Service'], row['Service'])}"
        for row in rows
        for port in row.get("Publishers") or []
        if port["PublishedPort"]
    ]


if __name__ == "__main__":
    command = ["docker", "compose", "ps", "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    print("\n".join(sorted(list_addresses(run.stdout))))
    print("The passwords are in .env. Next: make run-stack, one turn of the loop.")
