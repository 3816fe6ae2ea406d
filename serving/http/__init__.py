"""The HTTP front of the service: routes, access, requests, answers and errors."""
