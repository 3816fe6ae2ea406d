"""Rules of every feed, and helpers for those of a use case, as expectations of Great Expectations.

`meta["rule"]` describes a rule in the quarantine. No rule uses `mostly`: rows pass or fail one by
one, and shares are facts of the batch. Each call returns new objects: an expectation belongs to one
suite.
"""

from collections.abc import Sequence

import great_expectations.expectations as gxe
from great_expectations.expectations.row_conditions import Column

from contract import Bounds

Rules = list[gxe.Expectation]

# Of every batch, on the facts of `batch_facts.py`.
EVERY_BATCH: Bounds = {
    "n_rows_ratio": (0.5, 2), "duplicate_share": (0, 0.05), "quarantined_share": (0, 0.05),
}  # fmt: skip


def key_rules(key: Sequence[str]) -> Rules:
    """Return the rules that a row has a key, and that its batch has no other row with it."""
    unique = gxe.ExpectCompoundColumnsToBeUnique(
        column_list=[*key, "batch_day"],
        ignore_row_if="any_value_is_missing",
        # It is unknown which of two rows is right, so both go to quarantine.
        meta={"rule": "key is unique in its batch"},
    )
    return [*(given(column, f"{column} is given") for column in key), unique]


def between(bounds: Bounds) -> Rules:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, meta={"rule": f"{column} within bounds"}
        )
        for column, (low, high) in bounds.items()
    ]


def given(column: str, rule: str, *, where: str | None = None) -> gxe.Expectation:
    """Return the rule that a value is given, in all rows or in those where another is given."""
    condition = Column(where).is_not_null() if where else None
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column, row_condition=condition, meta={"rule": rule}
    )


def one_of(column: str, values: tuple[str, ...]) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=list(values), meta={"rule": f"{column} is known"}
    )


def matches(column: str, regex: str, rule: str) -> gxe.Expectation:
    # `\Z` ends a pattern: `$` also matches before a line break, and a key would get it.
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex, meta={"rule": rule})


# Other rules check for missing values.
def equal(a: str, b: str, rule: str) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesToBeEqual(
        column_A=a, column_B=b, ignore_row_if="either_value_is_missing", meta={"rule": rule}
    )


def after(later: str, earlier: str, rule: str, *, or_equal: bool = False) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=later, column_B=earlier, or_equal=or_equal,
        ignore_row_if="either_value_is_missing", meta={"rule": rule},
    )  # fmt: skip
