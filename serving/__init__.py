"""The online service: predicts with the released model, and logs every prediction.

`http/`: routes, access control, requests and responses, and the client of `mlops predict`.
`models/`: the models in memory: loading, swapping, scoring, explaining; their stored form.
`prediction_log/`: writes, compacts, reads and erases the log; outcomes that clients reported.
`release/`: the release document that the service follows, and the routing between the arms.

`service.py`: the BentoML service; `wiring.py` builds its parts.
`command.py`: the command and environment that start it as a process: `supervisor.py`, BentoML's.
`lookup.py`: features from the online store, with a time budget.
`metrics.py`: Prometheus metrics.
`errors.py`: error responses.
`remedies.py`: the table of stable codes and of the commands that mend their states.
`service_logging.py`: the service's own log lines.
"""
