"""Run a command to its end; an interrupted process first ends the command.

The command has a session of its own, so that a terminal's Ctrl-C reaches this process alone.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pipelines.runtime import interrupts

GRACE_SECONDS = 60.0  # from SIGTERM to SIGKILL: the command may end children of its own first


def run_to_end(
    command: Sequence[str], *, capture_output: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command as `subprocess.run` does; its output is text.

    If this process is interrupted, first end the command with all processes of its session.
    """
    pipe, process = subprocess.PIPE if capture_output else None, None
    try:
        with interrupts.deferred():  # a process that is just starting is not yet known here
            process = subprocess.Popen(
                command, text=True, stdout=pipe, stderr=pipe, start_new_session=True, **options
            )
        output, errors = process.communicate()
    finally:
        if process is not None and process.returncode is None:
            _end_session(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end_session(process: subprocess.Popen[str]) -> None:
    """Send SIGTERM to the session; SIGKILL once its leader has ended, or after its grace."""
    with interrupts.ignored(), process:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
