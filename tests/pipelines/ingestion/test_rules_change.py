"""Accepted batches stay accepted and follow changes of the use case's schema and rules."""

import os
import shutil
import subprocess
import sys
from datetime import date, timedelta

import pyarrow as pa
import pytest

from features import partitions
from pipelines.ingestion import ingest, validate
from pipelines.runtime.stage_command import parse_time
from pipelines.training.workspace import copy_code
from settings import Settings
from tests.use_case import USE_CASE

LAST = list(USE_CASE.feeds)[-1]
N_DAYS = 4
WHOLE = next(
    field.name
    for field in USE_CASE.schema(LAST)
    if field.type == pa.int64() and field.name not in USE_CASE.feeds[LAST]
)
ADDED_COLUMN = f"""
from datetime import date
FIRST = date.fromisoformat("{{first}}")
before = fetch
def fetch(feed, day):
    rows = before(feed, day)
    return rows.assign(added=1.5) if feed == "{LAST}" and day >= FIRST else rows
"""
DECLARED_COLUMN = f"""
declared = SCHEMA["{LAST}"]
at = declared.get_field_index("{WHOLE}")
declared = declared.set(at, pa.field("{WHOLE}", pa.float64()))
SCHEMA["{LAST}"] = declared.append(pa.field("added", pa.float64()))
"""
GIVEN = f"""
import great_expectations.expectations as gxe
rules_before = row_rules
def row_rules(feed):
    rule = gxe.ExpectColumnValuesToNotBeNull(column="added", meta={{"rule": "added is given"}})
    return [*rules_before(feed), rule] if feed == "{LAST}" else rules_before(feed)
"""
STRICT = f"""
import great_expectations.expectations as gxe
rules_before = row_rules
def row_rules(feed):
    unseen = gxe.ExpectColumnValuesToBeInSet(
        column="{USE_CASE.feeds[LAST][0]}", value_set=["nothing"], meta={{"rule": "strict"}}
    )
    return [*rules_before(feed), unseen] if feed == "{LAST}" else rules_before(feed)
"""
TEXT_TO_NUMBER = f"""
at = SCHEMA["{LAST}"].get_field_index("{USE_CASE.feeds[LAST][0]}")
SCHEMA["{LAST}"] = SCHEMA["{LAST}"].set(at, pa.field("{USE_CASE.feeds[LAST][0]}", pa.float64()))
"""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("rules") / "project"
    copy_code(folder)
    settings = Settings(home=folder, pages=False)
    ingest.fetch_due_batches(settings, parse_time(day(settings, N_DAYS)))
    validate.validate_new_batches(settings, parse_time(day(settings, N_DAYS)))
    return settings


@pytest.fixture
def project(ingested, tmp_path) -> Settings:
    """A copy of the project with some days ingested, whose use case a test may change."""
    shutil.copytree(ingested.home, tmp_path / "project")
    return Settings(home=tmp_path / "project", pages=False)


def day(settings: Settings, number: int) -> date:
    return date.fromisoformat(settings.params()["first_day"]) + timedelta(days=number)


def add(settings: Settings, file: str, code: str) -> None:
    with (settings.params_file.parent / file).open("a") as end:
        end.write(code)


def mlops_ingest(settings: Settings, until: int, code: int = 0) -> str:
    """Return the output of `mlops ingest` in the changed project."""
    home, as_of = str(settings.home), str(day(settings, until))
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "ingest", "--as-of", as_of],
        cwd=home, capture_output=True, text=True, check=False,
        env={**os.environ, "MLOPS_HOME": home, "PYTHONPATH": home, "MLOPS_PAGES": "false"},
    )  # fmt: skip
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


def files(settings: Settings, layer: str) -> dict[str, bytes]:
    folder = settings.data / layer
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


def test_a_column_is_added_and_a_type_widened(project):
    raw, old = files(project, "raw"), partitions.read_days(
        project.data, "validated", LAST, date.min, date.max
    )  # fmt: skip
    others = {
        feed: partitions.read_days(project.data, "validated", feed, date.min, date.max)
        for feed in list(USE_CASE.feeds)[:-1]
    }
    add(project, "source.py", ADDED_COLUMN.format(first=day(project, N_DAYS)))
    add(project, "schema.py", DECLARED_COLUMN)
    add(project, "rules.py", GIVEN)
    output = mlops_ingest(project, N_DAYS + 1)
    assert f"{LAST}: 1 batch," in output
    assert f"{N_DAYS} accepted batches checked again" in output

    assert raw.items() <= files(project, "raw").items()  # not moved
    assert not files(project, "quarantine/refused")
    assert not (project.data / "replaced").exists()  # the old columns have the same values
    new = [
        partitions.read_partition(
            partitions.partition_path(project.data, "validated", LAST, day(project, number))
        )
        for number in range(N_DAYS + 1)
    ]
    declared = USE_CASE.schema(LAST)
    at = declared.get_field_index(WHOLE)
    declared = declared.set(at, pa.field(WHOLE, pa.float64())).append(
        pa.field("added", pa.float64())
    )
    assert [table.schema for table in new] == [declared] * (N_DAYS + 1)
    added = [set(table.column("added").to_pylist()) for table in new]
    assert added == [{None}] * N_DAYS + [{1.5}]
    rows = pa.concat_tables(new[:-1]).to_pandas().drop(columns="added")
    assert rows.equals(old.astype({WHOLE: "float64"}))
    for feed, rows in others.items():
        same = partitions.read_days(project.data, "validated", feed, date.min, date.max)
        assert rows.equals(same[: len(rows)])
    assert "checked again" not in mlops_ingest(project, N_DAYS + 1)


def test_a_new_batch_that_lacks_a_declared_column_is_refused(project):
    add(project, "schema.py", DECLARED_COLUMN)
    output = mlops_ingest(project, N_DAYS + 1, code=1)
    assert f"The batch of {LAST} for {day(project, N_DAYS)} is refused" in output
    assert "missing: added double" in output
    assert len(partitions.partition_days(project.data, "validated", LAST)) == N_DAYS


def test_new_rules_check_rows_again_and_refuse_no_accepted_batch(project):
    """All rows break the new rule: the batches become empty, and none is moved."""
    raw, validated = files(project, "raw"), files(project, "validated")
    n_rows = len(partitions.read_days(project.data, "validated", LAST, date.min, date.max))
    add(project, "rules.py", STRICT)
    assert f"{N_DAYS} accepted batches checked again" in mlops_ingest(project, N_DAYS)
    assert files(project, "raw") == raw
    assert partitions.read_days(project.data, "validated", LAST, date.min, date.max).empty
    bad = partitions.read_days(project.data, "quarantine", LAST, date.min, date.max)
    assert len(bad) == n_rows
    assert bad["reasons"].str.startswith("strict").all()
    kept = sorted((project.data / "replaced").rglob(f"validated/{LAST}/*.parquet"))
    assert [path.read_bytes() for path in kept] == [
        content for name, content in sorted(validated.items()) if name.startswith(LAST)
    ]
    # Without the rule, the earlier state returns.
    shutil.copy(USE_CASE.folder / "rules.py", project.params_file.parent)
    mlops_ingest(project, N_DAYS)
    assert files(project, "validated") == validated
    assert not files(project, f"quarantine/{LAST}")


def test_a_type_that_loses_values_is_a_user_error(project):
    before = {layer: files(project, layer) for layer in ("raw", "validated", "quarantine")}
    add(project, "schema.py", TEXT_TO_NUMBER)
    output = mlops_ingest(project, N_DAYS, code=2)
    assert f"accepted batch of {LAST} for {day(project, 0)} does not fit" in output
    assert f"column {USE_CASE.feeds[LAST][0]} does not convert from string to double" in output
    assert files(project, "raw") == before["raw"]
    assert files(project, "validated").keys() == before["validated"].keys()
    of_feed = {name for name in before["validated"] if name.startswith(LAST)}
    now = files(project, "validated")
    assert {name: now[name] for name in of_feed} == {
        name: before["validated"][name] for name in of_feed
    }


def test_partitions_of_an_older_version_count_as_accepted(project):
    """Such partitions store no digest of raw rows, and one digest of rules for the folder."""
    before = {layer: files(project, layer) for layer in ("raw", "validated", "quarantine")}
    for path in (project.data / "validated").rglob("*.parquet"):
        partitions.write_partition(partitions.read_partition(path), path)
    (project.data / "validated" / partitions.RECIPE).write_text("other rules")
    assert "0 batches" in mlops_ingest(project, N_DAYS)
    assert {layer: files(project, layer) for layer in before} == before
    assert not (project.data / "replaced").exists()
