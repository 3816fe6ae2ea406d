"""Python runs this file first in every process that a test starts.

It stops coverage in the tools' processes, where tracing is slow and useless. It appends each looked
up host name to the file in LOOKED_UP.
"""

import os
import socket
import sys

TOOLS = {"bentoml", "dvc", "mlflow", "prefect", "serving", "uvicorn"}  # python -m ...
OURS = ("prefect.engine", "prefect.flow_engine", "prefect.runner")  # these run our flows
started = "".join(sys.orig_argv[2:3])
of_a_tool = started.partition(".")[0] in TOOLS and not started.startswith(OURS)

# The test of the recipe measures the stages; a training runs the same ones in its workspace.
if "COVERAGE_PROCESS_CONFIG" in os.environ and (of_a_tool or "MLOPS_WORKSPACE" in os.environ):
    from coverage import Coverage

    if measuring := Coverage.current():
        measuring.stop()

if "LOOKED_UP" in os.environ:
    _real = socket.getaddrinfo

    def _record_name(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        name = host.decode() if isinstance(host, bytes) else str(host)
        with open(os.environ["LOOKED_UP"], "a") as notes:
            notes.write(name + "\n")
        return _real(host, *args, **kwargs)

    socket.getaddrinfo = _record_name
