"""Run the remedy of a code as it is written in `serving/remedies.py`."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner

from pipelines.cli.main import app
from serving import remedies
from tests.use_case import USE_CASE


def mlops(*command: str) -> str:
    """Return what the command prints."""
    return CliRunner().invoke(app, command).output


def run_remedy(code: str, home: Path, **words: object) -> str:
    """Run the remedy of `code` in `home`, with words in capitals filled in; return the output."""
    command, output = remedies.remedy_command(code), ""
    for word, text in {"TEXT": "mended", "NAME": "me", "USECASE": USE_CASE.name, **words}.items():
        command = re.sub(rf"\b{word}\b(?!=)", lambda _, text=text: shlex.quote(str(text)), command)
    for part in command.split(" && "):
        given = shlex.split(part)
        variables = dict(word.split("=", 1) for word in given if word.startswith("MLOPS_"))
        if given[len(variables)] == "mlops":
            with patch.dict(os.environ, variables):
                result = CliRunner().invoke(app, given[len(variables) + 1 :])
            assert result.exit_code == 0, result.output
            output += result.output
        else:
            # Without sudo where the tests run as root.
            script = part if shutil.which("sudo") else f'sudo() {{ "$@"; }}; {part}'
            output += subprocess.run(
                ["bash", "-c", script], cwd=home, check=True, timeout=60, text=True,
                stdout=subprocess.PIPE,
            ).stdout  # fmt: skip
    return output
