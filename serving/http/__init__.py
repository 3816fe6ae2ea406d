"""The HTTP front of the service, and its client.

`api.py`: the ASGI application: routing, limits, error responses.
`routes.py`: the table of routes; `openapi.py` describes them, `schemas.py` holds their bodies.
`predict.py`: /predict, /predict_batch and /score.
`explain.py`: /explain.
`feedback.py`: /feedback.
`status_pages.py`: the GET routes: health, readiness, the served release, metrics.
`access.py`: tokens, roles and rate limits.
`asgi.py`: reads requests, sends responses.
`client.py`: sends a case or a CSV file to the service.
"""
