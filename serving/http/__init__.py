"""The HTTP front of the service, and its client.

`api.py`: the ASGI application: routing, limits, error responses.
`routes.py`: the table of routes; `schemas.py` holds their bodies.
`documents.py`: describes the routes, for programs and on a page to try them.
`predict.py`: /predict, /predict_batch, /score and /explain.
`feedback.py`: /feedback.
`status_pages.py`: health, readiness, the served release, metrics.
`access.py`: tokens, roles and rate limits.
`client.py`: sends a case or a CSV file to the service.
"""
