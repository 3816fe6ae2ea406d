"""Measures the champion in production and decides whether to retrain.

When a retraining is triggered: monitoring/retraining_triggers.py holds the triggers and when each
fires, monitoring/retraining_decision.py decides with the policy (`monitoring.policy` in
params.yaml). Prefect starts the training by an event (pipelines/flows/deployments.py).

monitor.py: one look at production: what it reads, the stored result and the pages
"""
