"""A restated day is checked by content and replaced as a whole; the old batch is kept."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from features import locks, partitions
from pipelines.ingestion import accepted_batches, ingest, validate
from pipelines.operations import loop_metrics
from settings import LoopError, Settings
from tests.use_case import PARAMS_FILE, USE_CASE

ROOT = Path(__file__).resolve().parents[3]
LAST = list(USE_CASE.feeds)[-1]
N_DAYS = 8  # a week of history and a day
LAYERS = ("raw", "validated", "quarantine")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def home(folder: Path) -> Settings:
    settings = Settings(home=folder, pages=False)
    settings.params_file.parent.mkdir(parents=True)
    shutil.copy(PARAMS_FILE, settings.params_file)
    return settings


def day(number: int) -> date:
    return date.fromisoformat(Settings(home=ROOT).params()["first_day"]) + timedelta(days=number)


def after(n_days: int) -> datetime:
    return datetime.combine(day(n_days), datetime.min.time(), UTC)


def files(settings: Settings, *layers: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(settings.data)): path.read_bytes()
        for layer in layers or LAYERS
        for path in (settings.data / layer).rglob("[!.]*.parquet")
    }


def path(settings: Settings, layer: str, number: int, feed: str = LAST) -> Path:
    return partitions.partition_path(settings.data, layer, feed, day(number))


def kept(settings: Settings, layer: str, number: int, feed: str = LAST) -> list[bytes]:
    paths = (settings.data / "replaced").glob(f"*/{layer}/{feed}/{day(number)}.parquet")
    return [each.read_bytes() for each in sorted(paths)]


def restates(monkeypatch: pytest.MonkeyPatch, number: int, change: Change) -> None:
    """Make the source return changed rows for one day of the last feed."""
    fetch = USE_CASE.fetch

    def newest(feed: str, on: date) -> pd.DataFrame:
        rows = fetch(feed, on)
        return change(rows) if (feed, on) == (LAST, day(number)) else rows

    monkeypatch.setattr(USE_CASE, "fetch", newest)


def other_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Remove one row and break another."""
    rows = rows.iloc[1:].reset_index(drop=True)
    rows.loc[3, "known_at"] += timedelta(days=40)
    return rows


def too_few(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.head(2)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict]:
    settings = home(tmp_path_factory.mktemp("restated"))
    ingest.fetch_due_batches(settings, after(N_DAYS))
    return settings, validate.validate_new_batches(settings, after(N_DAYS))


@pytest.fixture
def copy(full, tmp_path) -> Settings:
    shutil.copytree(full[0].home, tmp_path / "copy")
    return Settings(home=tmp_path / "copy", pages=False)


def fetch_again(settings: Settings, number: int) -> list[str]:
    return ingest.fetch_due_batches(settings, after(N_DAYS), again=[f"{LAST}/{day(number)}"])


def test_a_restated_day_gives_the_bytes_of_a_full_rebuild(copy, tmp_path, monkeypatch):
    before = files(copy)
    restates(monkeypatch, 3, other_rows)
    assert fetch_again(copy, 3) == [f"{LAST}/{day(3)}"]
    summary = validate.validate_new_batches(copy, after(N_DAYS))[LAST]
    assert (summary["batches"], summary["restated"], summary["quarantined"]) == (1, 1, 1)

    rebuilt = home(tmp_path / "rebuilt")
    ingest.fetch_due_batches(rebuilt, after(N_DAYS))
    validate.validate_new_batches(rebuilt, after(N_DAYS))
    assert files(copy) == files(rebuilt)
    changed = {name for name, content in files(copy).items() if before.get(name) != content}
    assert changed == {f"{layer}/{LAST}/{day(3)}.parquet" for layer in LAYERS}
    for layer in ("raw", "validated"):
        assert kept(copy, layer, 3) == [before[f"{layer}/{LAST}/{day(3)}.parquet"]]

    settled = validate.validate_new_batches(copy, after(N_DAYS))  # a second run finds nothing
    assert {one["batches"] for one in settled.values()} == {0}


def test_a_raw_partition_replaced_by_hand_is_noticed_by_its_content(copy):
    before = path(copy, "validated", 3).read_bytes()
    rows = other_rows(USE_CASE.fetch(LAST, day(3)))
    partitions.write_partition(rows, path(copy, "raw", 3))
    summary = validate.validate_new_batches(copy, after(N_DAYS))[LAST]
    assert (summary["restated"], summary["rows"], summary["quarantined"]) == (1, len(rows), 1)
    assert partitions.n_rows(path(copy, "validated", 3)) == len(rows) - 1
    assert kept(copy, "validated", 3) == [before]


def test_the_same_rows_stored_anew_change_nothing(copy):
    before = files(copy)
    partitions.write_partition(
        partitions.read_partition(path(copy, "raw", 3)), path(copy, "raw", 3)
    )
    assert validate.validate_new_batches(copy, after(N_DAYS))[LAST]["restated"] == 0
    assert files(copy) == before


def test_a_refused_restatement_keeps_the_accepted_batch(copy, monkeypatch):
    before = files(copy)
    restates(monkeypatch, 3, too_few)
    fetch_again(copy, 3)
    # A later day is new and another is restated: neither waits.
    rows = other_rows(USE_CASE.fetch(LAST, day(5)))
    partitions.write_partition(rows, path(copy, "raw", 5))
    path(copy, "validated", 7).unlink()
    with pytest.raises(LoopError) as caught:
        validate.validate_new_batches(copy, after(N_DAYS))
    refused = partitions.partition_path(copy.data, "quarantine", f"refused/{LAST}", day(3))
    message = str(caught.value)
    assert f"{LAST} for {day(3)} is refused and moved to {refused}: " in message
    assert "accepted batches of these days stay" in message
    assert "--again FEED/DAY" in message
    assert partitions.n_rows(refused) == 2
    for layer in ("raw", "validated"):
        name = f"{layer}/{LAST}/{day(3)}.parquet"
        assert files(copy)[name] == before[name]
    assert not kept(copy, "raw", 3)
    assert partitions.n_rows(path(copy, "validated", 5)) == len(rows) - 1
    assert path(copy, "validated", 7).exists()
    # The refusal is reported once; the file shows that it needs a decision.
    assert validate.validate_new_batches(copy, after(N_DAYS))[LAST]["batches"] == 0
    assert refused.exists()


def test_a_refused_file_put_there_by_hand_is_fetched_anew(copy):
    before = files(copy)
    partitions.write_partition(too_few(USE_CASE.fetch(LAST, day(3))), path(copy, "raw", 3))
    with pytest.raises(LoopError, match="is refused"):
        validate.validate_new_batches(copy, after(N_DAYS))
    assert path(copy, "validated", 3).read_bytes() == before[f"validated/{LAST}/{day(3)}.parquet"]
    assert ingest.fetch_due_batches(copy, after(N_DAYS)) == [f"{LAST}/{day(3)}"]
    assert validate.validate_new_batches(copy, after(N_DAYS))[LAST]["batches"] == 0
    refused = partitions.partition_path(copy.data, "quarantine", f"refused/{LAST}", day(3))
    refused.unlink()
    assert files(copy) == before


@pytest.mark.parametrize(
    "after_file", [2, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 3, 4))]
)
def test_the_next_run_completes_a_killed_one(copy, tmp_path, monkeypatch, after_file):
    """The kill comes after `after_file` files of the two restated days are written."""
    for number in (3, 4):
        rows = other_rows(USE_CASE.fetch(LAST, day(number)))
        partitions.write_partition(rows, path(copy, "raw", number))
    whole = Settings(home=shutil.copytree(copy.home, tmp_path / "whole"), pages=False)
    validate.validate_new_batches(whole, after(N_DAYS))
    old = files(copy, "validated")
    program = (
        "import os, sys, datetime; from features import durable_files\n"
        "from pipelines.ingestion import validate; from settings import load_settings\n"
        "replacing = durable_files.atomic_replace; left = int(sys.argv[1])\n"
        "def counted(target, *rest):\n"
        "    global left\n"
        "    if '/data/' in str(target) and left == 0: os.kill(os.getpid(), 9)\n"
        "    left -= '/data/' in str(target)\n"
        "    return replacing(target, *rest)\n"
        "durable_files.atomic_replace = counted\n"
        "validate.validate_new_batches(load_settings(), "
        f"datetime.datetime.fromisoformat('{after(N_DAYS)}'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(after_file)], cwd=ROOT, check=False,
        env={"MLOPS_HOME": str(copy.home), "PYTHONPATH": str(ROOT), "MLOPS_PAGES": "false"},
    )  # fmt: skip
    assert run.returncode == -9
    new = files(whole, "validated")
    for name, content in files(copy, "validated").items():
        assert content in (old[name], new[name])
    validate.validate_new_batches(copy, after(N_DAYS))
    assert files(copy) == files(whole)


def test_rows_that_repeat_a_key_are_counted(full, copy):
    assert full[1][LAST]["rows_restated"] == 0
    earlier, rows = (partitions.read_partition(path(copy, "raw", n)).to_pandas() for n in (2, 5))
    repeated = rows.copy()
    repeated.loc[:3, USE_CASE.feeds[LAST]] = earlier.loc[:3, USE_CASE.feeds[LAST]].to_numpy()
    partitions.write_partition(repeated, path(copy, "validated", 5))
    assert accepted_batches.count_restatements(copy, LAST, [day(5)]) == 4
    assert accepted_batches.count_restatements(copy, LAST, [day(2)]) == 0
    assert accepted_batches.record_restatements(copy, LAST, [day(5), day(6)]) == 4
    samples = {
        s.labels["feed"]: s.value
        for s in loop_metrics.batch_samples(copy)
        if s.name == "rows_restated"
    }
    assert samples[LAST] == 4
    counts = dict.fromkeys(("batches", "restated", "judged_again", "rows", "quarantined"), 0)
    line = validate.format_feed_summary(LAST, counts | {"reasons": {}, "rows_restated": 4})
    assert "4 rows repeat a key of an earlier batch" in line


@pytest.mark.parametrize("turn", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3))])
def test_concurrent_ingests_succeed_with_equal_results(full, tmp_path, turn):
    settings = home(tmp_path / "home")
    command = [sys.executable, "-m", "pipelines.cli.main", "ingest", "--as-of", str(day(2))]
    environment = {"MLOPS_HOME": str(settings.home), "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert not any("Traceback" in errors for _, errors in outputs)
    expected = {
        name: content
        for name, content in files(full[0]).items()
        if date.fromisoformat(Path(name).stem) < day(2)
    }
    assert files(settings) == expected
    assert validate.data_docs_index(settings).exists()


def test_a_step_waits_for_the_data_lock(copy, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    steps = (ingest.fetch_due_batches, validate.validate_new_batches)
    with locks.hold_data_lock(copy):
        for step in steps:
            with pytest.raises(LoopError, match="Another command that writes is at work"):
                step(copy, after(N_DAYS))
    for step in steps:
        step(copy, after(N_DAYS))
