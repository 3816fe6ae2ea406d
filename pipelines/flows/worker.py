"""`python -m pipelines.flows.worker ARGUMENT...`: Prefect's command line; SIGHUP acts as SIGTERM.

With Prefect's own, a closed terminal ends the worker, but not the runs that it has started.
"""

import os
import signal

from prefect.cli import app

from pipelines.runtime import child_processes


def main() -> None:
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks for that
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        app()
    finally:
        child_processes.end_descendants()


if __name__ == "__main__":
    main()
