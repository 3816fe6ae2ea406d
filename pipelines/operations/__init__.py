"""Health of the parts and of the loop, for people and for Prometheus.

- `doctor.py`: the checks of `mlops doctor`, with `home_checks.py` and `package_checks.py`
- `watch.py`: the server of `mlops watch`: metrics for Prometheus, webhook for Alertmanager
- `probes.py`: whether Postgres, Redis, MLflow, Prefect, Evidently and the service work
- `loop_metrics.py`: readers of champion, batches, monitoring, trainings, flows and volumes
- `metric_samples.py`: names and help texts of the metrics
- `alerts.py`: the alert log, and the Prefect events that follow it
- `ui_servers.py`: the servers of `mlops ui`; `page_server.py` is that of our own pages
"""
