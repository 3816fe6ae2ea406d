"""Good rows are validated, broken rows quarantined, and no crash or outage loses a row."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from features import durable_files, partitions
from pipelines.ingestion import ingest, validate
from settings import LoopError, Settings
from tests.use_case import PARAMS_FILE, USE_CASE

ROOT = Path(__file__).resolve().parents[3]
LAST = list(USE_CASE.feeds)[-1]
N_DAYS = 10  # more than a week of history


def home(folder: Path) -> Settings:
    settings = Settings(home=folder)
    settings.params_file.parent.mkdir(parents=True)
    shutil.copy(PARAMS_FILE, settings.params_file)
    return settings


def after(n_days: int) -> datetime:
    return datetime.combine(day(n_days), datetime.min.time(), UTC)


def day(number: int) -> date:
    first = date.fromisoformat(Settings(home=ROOT).params()["first_day"])
    return first + timedelta(days=number)


def files(settings: Settings, *layers: str) -> dict[str, bytes]:
    paths = (path for path in settings.data.rglob("*") if path.is_file())
    named = {path.relative_to(settings.data): path.read_bytes() for path in paths}
    wanted = layers or ("raw", "validated", "quarantine")
    return {str(name): data for name, data in named.items() if name.parts[0] in wanted}


def raw(settings: Settings, feed: str, number: int) -> Path:
    return partitions.partition_path(settings.data, "raw", feed, day(number))


def spoil(target: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    partitions.write_partition(change(partitions.read_partition(target)), target)


def with_one_bad_row(table: pa.Table) -> pa.Table:
    frame = table.to_pandas()
    frame.loc[3, "known_at"] += timedelta(days=40)
    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> tuple[Settings, dict[str, dict]]:
    """All days checked in one run, with one bad row in the last feed; and the summary."""
    settings = home(tmp_path_factory.mktemp("full"))
    ingest.fetch_due_batches(settings, after(N_DAYS))
    spoil(raw(settings, LAST, 4), with_one_bad_row)
    return settings, validate.validate_new_batches(settings, after(N_DAYS))


@pytest.fixture
def copy(full, tmp_path) -> Settings:
    shutil.copytree(full[0].home, tmp_path / "copy")
    return Settings(home=tmp_path / "copy")


def test_every_row_is_either_validated_or_quarantined(full):
    settings, summary = full
    for feed in USE_CASE.feeds:
        n_raw, n_good, n_bad = (
            len(partitions.read_days(settings.data, layer, feed, date.min, date.max))
            for layer in ("raw", "validated", "quarantine")
        )
        assert n_good + n_bad == n_raw == summary[feed]["rows"]
        assert n_bad == summary[feed]["quarantined"]
        days = partitions.partition_days(settings.data, "validated", feed)
        assert days == partitions.partition_days(settings.data, "raw", feed)
        assert len(days) == summary[feed]["batches"]


def test_a_bad_row_is_quarantined_with_its_reason(full):
    settings, summary = full
    bad = partitions.read_partition(
        partitions.partition_path(settings.data, "quarantine", LAST, day(4))
    )
    given = partitions.read_partition(raw(settings, LAST, 4))
    assert bad.drop_columns(["reasons"]) == given.slice(3, 1)
    reason = bad.column("reasons")[0].as_py()
    assert reason.startswith(f"known on its batch's day (known_day={day(44)}T00:00:00+00:00")
    assert summary[LAST]["reasons"]["known on its batch's day"] == 1
    good = partitions.read_partition(
        partitions.partition_path(settings.data, "validated", LAST, day(4))
    )
    assert good == pa.concat_tables([given.slice(0, 3), given.slice(4)])


def test_the_summary_is_json(full):
    assert json.loads(json.dumps(full[1])) == full[1]


def test_data_docs_are_written(full):
    index = validate.data_docs_index(full[0])
    assert f"{LAST}_rows" in index.read_text()
    (page,) = index.parent.rglob(f"{LAST}_rows.html")
    assert "known_day" in page.read_text()


def test_incremental_gives_the_bytes_of_full(full, tmp_path):
    settings = home(tmp_path / "daily")
    shutil.copytree(full[0].data / "raw", settings.data / "raw")
    for n_days in (1, 4, 5, N_DAYS):
        validate.validate_new_batches(settings, after(n_days))
    assert files(settings) == files(full[0])


def test_nothing_new_changes_nothing(copy):
    before = files(copy)
    summary = validate.validate_new_batches(copy, after(N_DAYS))
    assert {feed: entry["batches"] for feed, entry in summary.items()} == dict.fromkeys(
        USE_CASE.feeds, 0
    )
    assert files(copy) == before


def test_days_after_as_of_are_not_checked(copy):
    before = files(copy)
    shutil.rmtree(copy.data / "validated" / LAST)
    validate.validate_new_batches(copy, after(2))
    assert partitions.partition_days(copy.data, "validated", LAST) == [day(0), day(1)]
    validate.validate_new_batches(copy, after(N_DAYS))
    assert files(copy) == before


def test_great_expectations_is_not_imported_when_nothing_is_new(copy):
    program = (
        "import sys, datetime; from pipelines.ingestion import validate\n"
        "from settings import load_settings\n"
        "validate.validate_new_batches(load_settings(), "
        f"datetime.datetime.fromisoformat('{after(N_DAYS)}'));"
        "sys.exit('great_expectations' in sys.modules)"
    )
    environment = {"MLOPS_HOME": str(copy.home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)


def test_a_rerun_after_a_crash_gives_the_same_bytes(copy):
    """The kill comes between the two files of a batch, while the second is written."""
    before = files(copy)
    done = partitions.partition_path(copy.data, "validated", LAST, day(4))
    unfinished = done.with_name(f".{done.name}.1-0{durable_files.UNFINISHED}")
    unfinished.write_bytes(done.read_bytes()[:100])
    done.unlink()
    validate.validate_new_batches(copy, after(N_DAYS))
    assert files(copy) == before


def test_a_refused_batch_leaves_the_last_good_state(copy):
    complete = files(copy)
    for feed in USE_CASE.feeds:
        for number in range(6, N_DAYS):
            partitions.partition_path(copy.data, "validated", feed, day(number)).unlink(
                missing_ok=True
            )
    before = files(copy, "validated", "quarantine")
    spoil(raw(copy, LAST, 8), lambda table: table.slice(0, 3))
    spoiled = raw(copy, LAST, 8).read_bytes()

    with pytest.raises(LoopError) as caught:
        validate.validate_new_batches(copy, after(N_DAYS))

    refused = partitions.partition_path(copy.data, "quarantine", f"refused/{LAST}", day(8))
    message = str(caught.value)
    assert f"The batch of {LAST} for {day(8)} is refused and moved to {refused}" in message
    assert "n_rows_ratio within bounds: n_rows_ratio is 0.04" in message
    assert "expected min_value 0.5, max_value 2" in message
    assert "mlops ingest" in message
    assert refused.read_bytes() == spoiled
    assert not raw(copy, LAST, 8).exists()
    # Good batches stay; the feed stops before the gap, and the others continue.
    assert before.items() <= files(copy, "validated", "quarantine").items()
    assert partitions.partition_days(copy.data, "validated", LAST)[-1] == day(7)
    assert partitions.partition_days(copy.data, "validated", list(USE_CASE.feeds)[1])[-1] == day(
        N_DAYS - 1
    )

    with pytest.raises(LoopError, match=f"no raw batch of {LAST} for {day(8)}"):
        validate.validate_new_batches(copy, after(N_DAYS))

    assert ingest.fetch_due_batches(copy, after(N_DAYS)) == [f"{LAST}/{day(8)}"]
    assert validate.validate_new_batches(copy, after(N_DAYS))[LAST]["batches"] == 2
    assert files(copy) == complete  # as without the refusal


def test_the_stage_prints_a_refusal_without_a_traceback(copy):
    text = copy.params_file.read_text()
    as_of = copy.params()["as_of"]
    copy.params_file.write_text(text.replace(as_of, after(N_DAYS).isoformat()))
    partitions.partition_path(copy.data, "validated", LAST, day(9)).unlink()
    spoil(raw(copy, LAST, 9), lambda table: table.drop_columns(["known_at"]))
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.ingestion.validate"],
        cwd=ROOT, env={"MLOPS_HOME": str(copy.home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "columns and types as declared: missing: known_at" in run.stderr
    assert "Traceback" not in run.stderr
