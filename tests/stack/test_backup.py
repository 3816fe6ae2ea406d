"""A backup restores all data of the stack; anything else is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.stack import keys
from tests.stack.conftest import ROOT, Stack
from tests.use_case import USE_CASE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

# Runs in a container with the project's code: a released version with its files, a log of eight
# predictions (five of them compacted), definitions in Feast's registry, a file in the DVC remote.
SEED = """
import json
from datetime import UTC, datetime
from pathlib import Path
import numpy as np, pandas as pd, yaml
from features.feast_store import apply_definitions
from pipelines.release import promotion
from pipelines.registry import version_files, versions
from pipelines.training import mlflow_tracking
from serving.prediction_log import compaction, writer
from serving.models import evaluator
from settings import load_settings

settings = load_settings()
use_case = settings.use_case
rng = np.random.default_rng(0)
rows = {name: rng.choice(["AA", "BB"], 300) if name in use_case.categories else rng.normal(size=300)
        for name in use_case.features}
model, _ = use_case.candidates(settings.params())["gradient_boosting"]
model.set_params(model__max_iter=3).fit(pd.DataFrame(rows), rng.integers(0, 2, 300))
made = Path("/tmp/made")
digest = evaluator.export_model(model, made / "served")
pd.DataFrame(rows).to_parquet(made / "reference.parquet")
(made / "facts.json").write_text(json.dumps({"candidate": "gradient_boosting"}))
version_files.sign_files(settings, made, digest)
with mlflow_tracking.start_run(settings, "seed", {"training_id": "seed"}) as run:
    client = mlflow_tracking.mlflow_client(settings)
    client.log_artifacts(run.info.run_id, str(made))
client.create_registered_model(use_case.name)
client.create_model_version(
    use_case.name, f"runs:/{run.info.run_id}/served", run.info.run_id, tags={"digest":
    digest})
promotion.promote(settings, "1", why="the seed", by="test")

def log(names):
    kept = writer.PredictionLog(settings.predictions)
    for name in names:
        times = dict.fromkeys(("decision_time", "features_as_of", "logged_at"), datetime.now(UTC))
        kept.append({"request_id": name, "key": name, "probability": 0.5, "decision": True,
                     "model_version": "1", "model_digest": digest, **times,
                     "request": {"a": 1}, "features": {"b": 2.0}})
    kept.close()

log("abcde")
assert compaction.compact_log(use_case, settings.predictions)["records"] == 5
log("fgh")
apply_definitions(settings)
remote = Path("/dvc-remote/files/md5/12")
remote.mkdir(parents=True)
(remote / "34").write_bytes(bytes(100_000))
"""
KEPT = """
cd /state/var/usecases
find */release */models /dvc-remote /predictions -type f -size +0 \
  | sort | xargs sha256sum
find /state /dvc-remote /predictions -not -user 1000
"""


class Kept:
    """A stack with some data of each kind, and the scripts of `make backup` and `make restore`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        secrets = dict(
            line.split("=", 1)
            for line in stack.secrets.read_text().splitlines()
            if line[:1].isupper()
        )
        self.environment = {**os.environ, **stack.environment, **secrets}

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"pipelines.stack.{script}", *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, script: str, *arguments: str) -> tuple[int, str]:
        process = self.start(script, *arguments)
        out, err = process.communicate()
        return process.returncode, out + err

    def interrupt(self, number: int, at: str, script: str, *arguments: str) -> tuple[int, str]:
        """Send the signal after a line of output that begins with `at`."""
        process = self.start(script, *arguments)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(at):
                process.send_signal(number)
                break
        out, err = process.communicate()
        return process.returncode, out + err

    def worker_start(self) -> str:
        """Return the worker's start time; empty if it does not run."""
        identity = self.stack.compose("ps", "--quiet", "worker").strip()
        if not identity:
            return ""
        command = ["docker", "inspect", "--format", "{{.State.StartedAt}}", identity]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def snapshot(self) -> dict[str, object]:
        """Return the data of every part that a restore must reproduce."""
        ask = self.stack.compose
        mlflow = self.stack.url(
            "MLFLOW", f"/api/2.0/mlflow/registered-models/get?name={USE_CASE.name}"
        )
        found = httpx.get(mlflow, trust_env=False).raise_for_status().json()["registered_model"]
        run = found["latest_versions"][0]["run_id"]
        artefact = self.stack.url("MLFLOW", f"/get-artifact?path=facts.json&run_id={run}")
        prefect = self.stack.url("PREFECT", "/api/variables/name/kept")
        ready = self.stack.url("SERVICE", "/readyz")
        count = "SELECT count(*) FROM feature_views"
        return {
            "aliases": found["aliases"],
            "artefact": httpx.get(artefact, trust_env=False).raise_for_status().json(),
            "prefect": httpx.get(prefect, trust_env=False).raise_for_status().json()["value"],
            "feast": ask(
                "exec", "-T", "postgres", "psql", "-U", "postgres", "-tAc", count, "feast"
            ),
            "redis": self.redis("hget", "row", "value"),
            "files": ask("exec", "-T", "watch", "sh", "-c", KEPT),
            "serves": httpx.get(ready, trust_env=False).status_code,
        }

    def redis(self, *command: str) -> str:
        script = f'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli {" ".join(command)}'
        return self.stack.compose("exec", "-T", "redis", "sh", "-c", script)


@pytest.fixture(scope="module")
def kept(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    stack = Stack(tmp_path_factory.mktemp("backed-up"))
    stack.environment |= {"COMPOSE_PROFILES": "", "MLOPS_STAGING_URL": ""}  # no staging service
    try:
        stack.compose("up", "--detach", "--wait")
        stack.compose("run", "--rm", "-T", "--no-deps", "loop", "python", "-c", SEED)
        kept = Kept(stack)
        kept.redis("hset", "row", "value", "4.25")
        httpx.post(
            stack.url("PREFECT", "/api/variables/"), json={"name": "kept", "value": "yes"},
            trust_env=False,
        ).raise_for_status()  # fmt: skip
        yield kept
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def backup(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("backups") / "one"
    before = kept.worker_start()
    code, output = kept.run("backup", str(target))
    assert code == 0, output
    assert kept.worker_start() not in {"", before}  # restarted
    return target


def test_its_manifest_counts_its_contents_and_only_its_owner_can_read_it(
    kept: Kept, backup: Path
) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    assert manifest["contents"] == {
        "predictions": 8, "versions": 1, "champion": "1", "released": "1", "online_keys": 1,
    }  # fmt: skip
    assert manifest["version"] == kept.stack.environment["MLOPS_VERSION"]
    assert manifest["commit"] == kept.stack.environment["MLOPS_COMMIT"]
    assert set(manifest["files"]) | {"manifest.json"} == {path.name for path in backup.iterdir()}
    keys_folder = Path(kept.stack.environment["MLOPS_KEYS"])
    assert manifest["trusted_keys"] == keys.trusted_file(keys_folder).read_text()
    private = keys.signing_file(keys_folder).read_bytes().splitlines()[1]
    assert not any(private in path.read_bytes() for path in backup.iterdir())
    assert {path.stat().st_mode & 0o777 for path in backup.iterdir()} == {0o600}
    assert backup.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_holds_something_is_refused(kept: Kept, backup: Path) -> None:
    before = kept.worker_start()
    code, output = kept.run("backup", str(backup))
    assert code == 1
    assert "not an empty folder" in output
    assert kept.worker_start() == before


def test_an_interrupted_backup_leaves_nothing_but_the_worker_running(
    kept: Kept, tmp_path: Path
) -> None:
    target = tmp_path / "interrupted"
    code, output = kept.interrupt(signal.SIGTERM, "Stopping the worker", "backup", str(target))
    assert code == 128 + signal.SIGTERM, output
    assert kept.worker_start()
    assert list(tmp_path.iterdir()) == []


def test_data_are_not_removed_without_confirmation(kept: Kept, backup: Path) -> None:
    code, output = kept.run("restore", str(backup))
    assert code == 1
    assert "FORCE=1" in output
    assert kept.snapshot()["serves"] == 200


def test_a_backup_that_was_tampered_with_is_refused(
    kept: Kept, backup: Path, tmp_path: Path
) -> None:
    shutil.copytree(backup, tmp_path / "copy")
    with (tmp_path / "copy" / "predictions.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"!")
    code, output = kept.run("restore", "--force", str(tmp_path / "copy"))
    assert code == 1
    assert "predictions.tar is not what was backed up" in output
    assert kept.snapshot()["serves"] == 200


def test_all_data_are_restored_also_after_a_killed_restore(kept: Kept, backup: Path) -> None:
    before = kept.snapshot()
    assert str(before["files"]).count("\n") > 5
    kept.stack.compose("--profile", "*", "down", "--volumes")
    code, _ = kept.interrupt(signal.SIGKILL, "Restoring dvc-remote.tar", "restore", str(backup))
    assert code == -signal.SIGKILL
    command = ["docker", "compose", "run", "--rm", "-T", "--no-deps", "mlflow"]
    refused = subprocess.run(
        command, cwd=ROOT, env=kept.environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "A restore was interrupted" in refused.stderr + refused.stdout

    code, output = kept.run("restore", "--force", str(backup))

    assert code == 0, output
    assert kept.snapshot() == before
    assert kept.worker_start()
