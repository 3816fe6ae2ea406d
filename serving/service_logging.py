"""How are the service's own lines written? One JSON object each, on stderr, with what it is about.

A line for each request that was refused or failed, and for each event in the service's life. None
for a request that was answered: the prediction log has that.
"""

from __future__ import annotations

import logging

#: Those that BentoML gives handlers of its own, which write plain text to stdout.
BENTOML_LOGGERS = ("bentoml", "uvicorn.error")


def configure_logging() -> None:
    """For the whole process: what libraries say has the same form."""
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
    logging.getLogger("bentoml").setLevel(logging.WARNING)  # our own lines say more of its life
    logging.getLogger("serving").setLevel(logging.INFO)
