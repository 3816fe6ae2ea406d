"""The HTTP front of the service, and its client.

`api.py`: the ASGI application: routing, limits, error responses.
`routes.py`: the table of routes; `schemas.py` holds their bodies.
`openapi.py`: describes the routes; `swagger.py`: the page to try them on.
`predict.py`: /predict, /predict_batch and /score.
`explain.py`: /explain.
`feedback.py`: /feedback.
`status_pages.py`: health, readiness, the served release, metrics.
`access.py`: tokens, roles and rate limits.
`client.py`: sends a case or a CSV file to the service.
"""
