"""The environment of all tests, their order, and their distribution over workers."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import features  # noqa: F401  before Feast: it spares each process a second of imports
from settings import Settings

for name, value in Settings().environment().items():
    # Each test sets its own addresses and paths.
    if not name.startswith("MLOPS_") and "URI" not in name and "PREFECT" not in name:
        os.environ[name] = value
for name in ("BENTOML_HOME", "DVC_SITE_CACHE_DIR", "_MLFLOW_SERVER_ARTIFACT_ROOT"):
    os.environ.pop(name, None)

# For the processes that tests start: see startup/sitecustomize.py.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent / "startup"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# The longest tests run first, so that no worker ends with one of them alone.
FIRST = [
    "pipelines/flows/test_turn.py", "pipelines/flows/test_deployments.py",
    "pipelines/flows/test_killed_turn.py", "pipelines/flows/test_flows.py", "features/test_skew.py",
    "pipelines/retraining/test_monitor.py", "pipelines/proofs/test_monitoring.py",
    "pipelines/ingestion/test_validate.py", "pipelines/replay/test_replay.py",
    "pipelines/release/test_rollout_controller.py", "serving/test_service.py",
    "usecases/flights/test_expectations.py", "pipelines/proofs/test_gates.py",
    "pipelines/cli/test_commands.py",
]  # fmt: skip
ONE_TURN = ("test_turn.py", "test_uis.py", "test_workspace.py")  # use the fixture `turned`


@pytest.fixture(autouse=True, scope="module")
def own_environment() -> Iterator[None]:
    """Restore the environment after each test file: commands change it for their process."""
    with patch.dict(os.environ):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        return FIRST.index(file) if file in FIRST else len(FIRST)

    items.sort(key=place)


class ByFile(LoadFileScheduling):
    """Send the tests of a file to one worker, and all files that use the same turn, too."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return "turned" if scope.endswith(ONE_TURN) else scope


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)
