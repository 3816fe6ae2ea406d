"""Performance of the model in production, and the decision whether to retrain.

- `retraining_triggers.py`: the evidence, and when each trigger fires
- `retraining_decision.py`: whether a retraining starts, from triggers, holds and the policy
- `observation.py`: every measure and the decision, for monitoring and the fast replay
- `measures/`: what is measured in production
- `pages/`: HTML pages and figures
- `stack/`: configuration of Prometheus, Alertmanager and Grafana
"""
