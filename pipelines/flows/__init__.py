"""Prefect flows, their deployments and runs, and one whole turn of the loop."""
