"""The home after a turn of v0.1 on a few days: built from its commit, and a packed part of it.

`python -m tests.homes.v01` builds it, in minutes, and writes `v01.tar.xz`. The pack holds the input
of a release, its record and the monitoring; a training and new batches need the whole home.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from features import locks
from pipelines.training import lineage
from tests.use_case import USE_CASE

COMMIT = "ce026cd1d2ee5527f32b83cfc81581b2d0618c81"
PARAMS = "usecase/params.yaml"
PACK = Path(__file__).with_name("v01.tar.xz")
FIRST_DAY = "2013-01-18"  # of the batches in the pack
PACKED = (
    "var/feast/applied", "var/feast/published", "var/feast/registry.db", "var/log", "var/mlflow",
    "var/models", "var/monitoring", "var/release", "var/world.json", "var/children.json",
)  # fmt: skip
OF_A_TRAINING = ("outcome.json", "data/evaluation/gates.json", "data/evaluation/metrics.json")
LEFT_OUT = ("plots", "evaluation", "artifacts/models")  # MLflow artefacts
# Runs in a child process: the code of that commit with the installed packages.
TURN = f"""
import sys, yaml
from pathlib import Path
from tests import sliced
params = Path("{PARAMS}")
params.parent.mkdir()
params.write_text(yaml.safe_dump(sliced.parameters()))
sys.argv = ["mlops", "run"]
from pipelines.cli import app
app()
"""


def unpack(target: Path) -> None:
    """Write `data/` and `var/` of the pack into the folder `target`."""
    with tarfile.open(PACK) as archive:
        archive.extractall(target, filter="data")


def whole_home() -> Path:
    """Return the whole home, built once in the user's cache. Copy it; do not change it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-loop" / "homes"
    home = base / f"{COMMIT[:12]}-python{sys.version_info.major}.{sys.version_info.minor}"
    with locks.hold_lock(base / "lock"):
        if not home.exists():
            draft = base / f".{home.name}"
            shutil.rmtree(draft, ignore_errors=True)
            build_home(draft)
            draft.rename(home)
    return home


def build_home(home: Path, ports: tuple[int, int] = (4271, 3071)) -> None:
    """Run a turn of v0.1 in the folder `home`; raise `CalledProcessError` if it fails."""
    home.mkdir(parents=True)
    # In a shallow clone git lacks the commit: run git fetch --unshallow.
    with lineage.commit_files(COMMIT) as tree:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS", "PREFECT"))}
        ours = {
            "PYTHONPATH": str(tree), "MLOPS_HOME": str(home),
            "MLOPS_PREFECT_PORT": str(ports[0]), "MLOPS_SERVICE_PORT": str(ports[1]),
        }  # fmt: skip
        subprocess.run([sys.executable, "-c", TURN], cwd=home, env=kept | ours, check=True)


def pack(home: Path, target: Path = PACK) -> None:
    """Write the packed part of `home` to the archive `target`."""

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        # The same bytes on every machine: no user and no time.
        member.uname = member.gname = ""
        member.uid = member.gid = member.mtime = 0
        artefact = member.name.startswith("var/mlflow/artifacts/")
        left_out = artefact and any(f"/{each}" in member.name for each in LEFT_OUT)
        return None if left_out else member

    names = [*PACKED]
    for path in (home / "var" / "training").glob("[!.]*"):
        names += [str((path / each).relative_to(home)) for each in OF_A_TRAINING]
    for layer in ("raw", "validated"):
        files = (home / "data" / layer / USE_CASE.label_feed).glob("*.parquet")
        names += [str(each.relative_to(home)) for each in files if each.stem >= FIRST_DAY]
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name in sorted(names):
            archive.add(home / name, name, filter=kept)


def main() -> None:
    pack(whole_home())
    print(f"{PACK}: {PACK.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
