"""The HTTP front of the service, and its client.

`api.py`: the ASGI application: routing, limits, error responses.
`routes.py`: the table of routes; health, readiness, the served release, metrics.
`schemas.py`: the bodies of requests and responses.
`documents.py`: describes the routes, for programs and on a page to try them.
`predict.py`: /predict, /predict_batch, /score and /explain.
`feedback.py`: /feedback.
`access.py`: tokens, roles and rate limits.
`client.py`: sends a case or a CSV file to the service.
"""
