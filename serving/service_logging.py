"""The service's own log lines: one JSON object a line, on stderr.

A refused or failed request and each event in the service's life has a line. An answered request has
none: it is in the prediction log.
"""

import logging

#: BentoML gives these loggers handlers that write plain text to stdout.
BENTOML_LOGGERS = ("bentoml", "uvicorn.error")


def configure_logging() -> None:
    """Configure logging for the whole process, libraries included."""
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"], timestamp="time",
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        )
    )  # fmt: skip
    logging.getLogger().handlers = [handler]
    for name in BENTOML_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("bentoml").setLevel(logging.WARNING)  # our own lines cover start and stop
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # and our own line each refusal
    logging.getLogger("serving").setLevel(logging.INFO)
