"""What happens first in each process that a test starts, by whomever: Python runs this file.

Coverage measures our processes only: to trace those of the tools costs much and says nothing.
Every host name looked up is noted in the file that LOOKED_UP names.
"""

import os
import socket
import sys

TOOLS = {"bentoml", "dvc", "evidently", "http", "mlflow", "prefect", "uvicorn"}  # python -m ...
OURS = ("prefect.engine", "prefect.flow_engine", "prefect.runner")  # these run our flows
started = "".join(sys.orig_argv[2:3])
of_a_tool = started.partition(".")[0] in TOOLS and not started.startswith(OURS)

# The stages of a training, in its workspace, are those of the recipe, whose test measures them.
if "COVERAGE_PROCESS_CONFIG" in os.environ and (of_a_tool or "MLOPS_WORKSPACE" in os.environ):
    from coverage import Coverage

    if measuring := Coverage.current():
        measuring.stop()

if "LOOKED_UP" in os.environ:
    _real = socket.getaddrinfo

    def _noted(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        name = host.decode() if isinstance(host, bytes) else str(host)
        with open(os.environ["LOOKED_UP"], "a") as notes:
            notes.write(name + "\n")
        return _real(host, *args, **kwargs)

    socket.getaddrinfo = _noted
