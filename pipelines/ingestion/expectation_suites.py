"""How Great Expectations is asked, and how its answers become pages: all of the tool but the rules.

A run costs about 0.1 s, whatever it is asked of: ask once of many batches, not of each.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

with warnings.catch_warnings():
    # It imports two modules of Python's own that are deprecated: not ours to mend.
    warnings.simplefilter("ignore", DeprecationWarning)
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.core import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

from features import locks
from settings import LoopError

# It tells of every temporary folder.
logging.getLogger("great_expectations").setLevel(logging.WARNING)


def schema_expectations(schema: str) -> list[Any]:
    """Asked of the fact `schema` of each batch, before any of its rows is looked at."""
    rule = {"rule": "columns and types as declared"}
    return [gxe.ExpectColumnValuesToBeInSet(column="schema", value_set=[schema], meta=rule)]


def known_at_expectations() -> list[Any]:
    """Asked of the rows of every feed: a row belongs to the day on which it became known."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column="known_at", meta={"rule": "known_at is given"}),
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="known_day",
            column_B="batch_day",
            ignore_row_if="either_value_is_missing",
            meta={"rule": "known on its batch's day"},
        ),
    ]


def run_suite(
    rules: Sequence[Any], rows: pd.DataFrame, suite: str
) -> tuple[dict[str, list[int]], Any]:
    """The numbers of the rows that break each rule, by the rule's name; and the tool's own result.

    Raises `LoopError` if a rule could not be asked: a check that could not run has failed.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("data").add_dataframe_asset(suite)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    asked = gx.ExpectationSuite(name=suite, expectations=list(rules))
    result = batch.validate(asked, result_format="COMPLETE")
    answers = {one.expectation_config.meta["rule"]: one for one in result.results}
    broken: dict[str, list[int]] = {}
    for rule in rules:
        name = rule.meta["rule"]
        answer = answers.get(name)
        if answer is None or name in broken or "unexpected_index_list" not in answer.result:
            raise LoopError(
                f"The rule {name!r} of {suite} could not be asked{_cause(answer)}. Nothing of the "
                "feed was validated. Mend the rule: it needs a name of its own, columns that "
                "exist, and an expectation that is asked of each row."
            )
        broken[name] = [int(number) for number in answer.result["unexpected_index_list"]]
    return broken, result


def write_data_docs(results: Sequence[Any], folder: Path) -> None:
    """Replaces the file context in `folder`, and its pages, by one that holds `results`.

    One process at a time: a training's recipe writes other data, but the same pages.
    """
    with locks.hold_lock(folder.with_name(f"{folder.name}.lock"), what="Another validation"):
        _write_data_docs(results, folder)


def _write_data_docs(results: Sequence[Any], folder: Path) -> None:
    made = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    context = gx.get_context(mode="file", project_root_dir=made)
    context.variables.progress_bars = {"globally": False}
    for result in results:
        suite = ExpectationSuiteIdentifier(result.suite_name)
        run = RunIdentifier(run_name="newest")
        page = ValidationResultIdentifier(suite, run, batch_identifier=result.suite_name)
        context.validation_results_store.set(page, result)
    context.build_data_docs()
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _cause(answer: Any) -> str:
    """The tool's first message: it files one per metric, or one for the whole expectation."""
    if answer is None:
        return ""
    filed = answer.exception_info or {}
    messages = [one for one in filed.values() if isinstance(one, dict)] or [filed]
    return f" ({messages[0].get('exception_message')})"
