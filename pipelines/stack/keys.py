"""Create and rotate the keys that sign the stack's releases: `make up` and `make rotate-key`.

`signing.pem` is a Compose secret of the worker and `loop`. `trusted/trusted.pem` holds the public
keys, which the services read. Both stay on the host, where no container can write them. The image
draws a pair, because the standard library has no Ed25519.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from pipelines.stack import docker_engine, env
from pipelines.stack.backup_folder import StackError
from pipelines.stack.docker_engine import Stack, compose, run_command

SIGN_OLDER = ("python", "-W", "ignore", "-m", "pipelines.release.audit.key_changes")
KEY_START = "Key: "  # of each public key in the file of trusted keys


def create_keys(stack: Stack) -> bool:
    """Create and announce the keys of a stack that has none; return whether it had none.

    Raises `StackError` if only one of the two files is there.
    """
    private, public = signing_file(stack.keys), trusted_file(stack.keys)
    if private.exists() and public.exists():
        return False
    if private.exists() or public.exists():
        missing = public if private.exists() else private
        raise StackError(
            f"{missing} is missing. Restore it from your copy. If {private.name} is lost for good, "
            'sign with a new key: make rotate-key REASON="the key was lost".'
        )
    write_pair(stack.keys, draw_pair(stack))
    print(f"Created the keys that sign releases: {stack.keys}. Keep a copy of this folder.")
    return True


def signing_file(folder: Path) -> Path:
    return folder / "signing.pem"


def trusted_file(folder: Path) -> Path:
    return folder / "trusted" / "trusted.pem"


def draw_pair(stack: Stack) -> str:
    """Return a new private key and its public key, as the image prints them."""
    draw = ("python", "-m", "serving.release.keys")
    return run_command(docker_engine.container(stack.image, *draw, mounts={})) + "\n"


def write_pair(folder: Path, pair: str) -> None:
    """Sign with this pair from now on; earlier public keys stay trusted."""
    private, start, public = pair.partition(KEY_START)
    # The containers' user reads the files, whatever its number on the host. Only the folder keeps
    # other users of the host out; a mount passes it by.
    trusted = trusted_file(folder)
    for each, mode in ((folder, 0o700), (trusted.parent, 0o755)):
        each.mkdir(exist_ok=True)
        each.chmod(mode)  # whatever the umask, and also if the user has made it
    known = trusted.read_text() if trusted.exists() else ""
    # In this order: after a kill between the two, the old key still signs what is trusted.
    env.replace_file(trusted, known + start + public, 0o644)
    env.replace_file(signing_file(folder), private, 0o644)


def trust_also(folder: Path, text: str) -> int:
    """Trust the public keys of `text`, too; return how many are new."""
    trusted = trusted_file(folder)
    known = trusted.read_text()
    keys = [KEY_START + key for key in text.split(KEY_START)[1:]]
    if added := [key for key in keys if key not in known]:
        env.replace_file(trusted, "".join([*added, known]), 0o644)
    return len(added)


def sign_older_release(stack: Stack) -> None:
    """Sign the release of a version without signatures, if its record is whole."""
    if stack.volumes["state"] not in docker_engine.existing_volumes():
        return
    print("Verifying the record of the existing release ...", flush=True)
    run_command(compose("up", "--detach", "--wait", "mlflow"))
    print(run_command(compose("run", "--rm", "-T", "--no-deps", "loop", *SIGN_OLDER)))


def rotate(stack: Stack, reason: str) -> None:
    """Sign with a new key from now on, and the current release at once."""
    write_pair(stack.keys, draw_pair(stack))
    print(f"{signing_file(stack.keys)} holds a new key. Keep a copy of {stack.keys}.", flush=True)
    running = run_command(compose("ps", "--services", "--status", "running")).split()
    if "worker" in running:  # its mount still has the old key
        print("Restarting the worker; an active flow gets time to end ...", flush=True)
        run_command(compose("restart", "worker"))
    if not {"worker", "mlflow"} <= set(running):
        print("The stack does not run as a whole. The next change of the release has the new key.")
        return
    sign = ("mlops", "rotate-key", "--reason", reason, "--by", getpass.getuser())
    print(run_command(compose("run", "--rm", "-T", "--no-deps", "loop", *sign)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make rotate-key")
    parser.add_argument("--rotate", metavar="REASON", help="create a new key; why")
    reason = parser.parse_args().rotate
    stack = docker_engine.describe_stack()
    if reason is not None:
        if not reason.strip():
            raise StackError('A new key needs a reason: make rotate-key REASON="a year has passed"')
        rotate(stack, reason)
    elif create_keys(stack):
        sign_older_release(stack)


if __name__ == "__main__":
    sys.exit(docker_engine.run_script(main, interrupted="Run it again."))
