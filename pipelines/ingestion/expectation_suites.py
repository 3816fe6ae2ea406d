"""Run suites of Great Expectations and write its data docs. The rules are in the use case.

A run costs about 0.1 s for any number of rows: run a suite once on many batches, not once on each.
"""

import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

with warnings.catch_warnings():
    # Great Expectations imports two deprecated modules of the standard library.
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

# It logs every temporary folder.
logging.getLogger("great_expectations").setLevel(logging.WARNING)
# Great Expectations' pages load styles, scripts, fonts and a logo that counts the views from
# elsewhere. A browser that reads this ahead of them loads nothing.
LOADS_NOTHING = (
    '<meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'self' data: 'unsafe-inline'\">"
)
# What their pages need of those styles: tables, and the marks of passed and failed rules.
DATA_DOCS_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1e293b; padding: 0 20px }
td, th { padding: 5px 8px; text-align: left; border-bottom: 1px solid #e2e8f0 }
.fa-check-circle::before { content: "✓"; color: #15803d }
.fa-times::before, .fa-exclamation-triangle::before { content: "✗"; color: #b91c1c }
.navbar-brand, footer { display: none }
"""


def schema_expectations(schema: str) -> list[Any]:
    """Return the rule on the fact `schema` of each batch, which runs before any rule on rows."""
    rule = {"rule": "columns and types as declared"}
    return [gxe.ExpectColumnValuesToBeInSet(column="schema", value_set=[schema], meta=rule)]


def known_at_expectations() -> list[Any]:
    """Return the row rules of every feed: a row belongs to the day on which it became known."""
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
    """Return the numbers of the rows that break each rule, by rule name, and the tool's own result.

    Raise `LoopError` if a rule could not run: such a check counts as failed.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("data").add_dataframe_asset(suite)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    expectations = gx.ExpectationSuite(name=suite, expectations=list(rules))
    result = batch.validate(expectations, result_format="COMPLETE")
    outcomes = {each.expectation_config.meta["rule"]: each for each in result.results}
    broken: dict[str, list[int]] = {}
    for rule in rules:
        name = rule.meta["rule"]
        outcome = outcomes.get(name)
        if outcome is None or name in broken or "unexpected_index_list" not in outcome.result:
            raise LoopError(
                f"The rule {name!r} of {suite} could not run{_first_error(outcome)}. Nothing of "
                "the feed was validated. Fix the rule: it needs a unique name, columns that "
                "exist, and an expectation on each row."
            )
        broken[name] = [int(number) for number in outcome.result["unexpected_index_list"]]
    return broken, result


def write_data_docs(results: Sequence[Any], folder: Path) -> None:
    """Replace the file context in `folder` and its pages by one that holds `results`.

    One process at a time: trainings write their own data, but the same pages.
    """
    draft = folder.with_name(f"{folder.name}.new")
    with locks.hold_lock(folder.with_name(f"{folder.name}.lock"), what="Another validation"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        context = gx.get_context(mode="file", project_root_dir=draft)
        context.variables.progress_bars = {"globally": False}
        for result in results:
            suite = ExpectationSuiteIdentifier(result.suite_name)
            run = RunIdentifier(run_name="newest")
            page = ValidationResultIdentifier(suite, run, batch_identifier=result.suite_name)
            context.validation_results_store.set(page, result)
        styles = "gx/plugins/custom_data_docs/styles/data_docs_custom_styles.css"
        (draft / styles).write_text(DATA_DOCS_STYLE)
        context.build_data_docs()
        for page in draft.glob("gx/uncommitted/data_docs/**/*.html"):
            before, head, after = page.read_text().partition("<head>")
            if not head:
                raise LoopError(f"{page} has no <head> for the policy that it loads nothing.")
            page.write_text(f"{before}{head}{LOADS_NOTHING}{after}")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


def _first_error(outcome: Any) -> str:
    """Return the tool's first message: it has one per metric, or one for the whole expectation."""
    if outcome is None:
        return ""
    info = outcome.exception_info or {}
    messages = [each for each in info.values() if isinstance(each, dict)] or [info]
    return f" ({messages[0].get('exception_message')})"
