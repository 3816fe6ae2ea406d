"""The HTTP front of the service, and its client.

`connections.py`: connections: the limits of a request's head, malformed HTTP.
`api.py`: the ASGI application: routing, limits, error responses.
`body.py`: reads a body, with a limit and a deadline.
`shares.py`: what each client may use at once of a limit that all share.
`routes.py`: the table of routes; health, readiness, the served release, metrics.
`schemas.py`: the bodies of requests and responses.
`answer.py`: what a use case builds its request and answer from.
`documents.py`: describes the routes, for programs and on a page to try them.
`predict.py`: /predict, /predict_batch, /score and /explain.
`feedback.py`: /feedback.
`access.py`: tokens, roles and rate limits.
`client.py`: sends a case or a CSV file to the service.
"""
