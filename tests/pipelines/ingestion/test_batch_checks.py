"""Rules on rows and batches, on small suites over made-up accounts."""

from datetime import date, timedelta

import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.ingestion import batch_facts
from pipelines.ingestion.batch_checks import CheckedBatches, FeedRules, check_batches, format_value
from settings import LoopError

FIRST = date(2030, 5, 1)
SCHEMA = pa.schema(
    {
        "account": pa.string(),
        "amount": pa.int64(),
        "limit": pa.float64(),
        "known_at": pa.timestamp("us", "UTC"),
    }
)
AMOUNT = gxe.ExpectColumnValuesToBeBetween(
    column="amount", min_value=0, max_value=100, meta={"rule": "amount within bounds"}
)
COVERED = gxe.ExpectColumnPairValuesAToBeGreaterThanB(
    column_A="limit", column_B="amount", ignore_row_if="either_value_is_missing",
    meta={"rule": "amount is covered"},
)  # fmt: skip
UNIQUE = gxe.ExpectCompoundColumnsToBeUnique(
    column_list=["account", "batch_day"], meta={"rule": "account is unique"}
)
ENOUGH = gxe.ExpectColumnValuesToBeBetween(
    column="n_rows", min_value=2, max_value=10, meta={"rule": "row count"}
)
FEW_BAD = gxe.ExpectColumnValuesToBeBetween(
    column="quarantined_share", max_value=0.5, meta={"rule": "few bad rows"}
)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def batch(number: int = 0, n_rows: int = 4, **columns: object) -> pa.Table:
    times = pd.date_range(day(number), periods=n_rows, freq="h", tz="UTC", unit="us")
    frame = pd.DataFrame(
        {
            "account": [f"a{row}" for row in range(n_rows)],
            "amount": range(10, 10 + n_rows),
            "limit": 200.5,
            "known_at": times,
        }
    ).assign(**columns)
    return pa.Table.from_pandas(frame, preserve_index=False)


def check(
    *tables: pa.Table, rows=(AMOUNT, COVERED, UNIQUE), facts=(ENOUGH, FEW_BAD)
) -> CheckedBatches:
    rules = FeedRules(SCHEMA, ["account"], lambda frame: frame, list(rows), list(facts))
    by_day = {day(number): table for number, table in enumerate(tables)}
    return check_batches("accounts", by_day, {one: [] for one in by_day}, rules)


def reasons(checked: CheckedBatches) -> list[dict[int, dict[str, str]]]:
    return [against for _, against in checked.accepted.values()]


def test_good_batches_are_accepted_whole():
    checked = check(batch(0), batch(1))
    assert reasons(checked) == [{}, {}]
    assert checked.refused is None
    assert [table for table, _ in checked.accepted.values()] == [batch(0), batch(1)]


def test_a_broken_row_is_reported_with_its_rules_and_values():
    checked = check(batch(0), batch(1, amount=[10, 300, 12, 13]))
    assert reasons(checked) == [
        {},
        {1: {"amount within bounds": "amount=300", "amount is covered": "limit=200.5, amount=300"}},
    ]


def test_rows_are_unique_within_their_batch_only():
    checked = check(batch(0), batch(1, account=["a", "b", "a", "c"]))
    assert [list(against) for against in reasons(checked)] == [[], [0, 2]]


@pytest.mark.parametrize(
    ("known_at", "rule"),
    [
        (pd.NaT, "known_at is given"),
        (pd.Timestamp("2030-04-30T23:59:59Z"), "known on its batch's day"),
        (pd.Timestamp("2030-05-02T00:00:00Z"), "known on its batch's day"),
    ],
)
def test_a_row_of_another_day_is_broken_in_every_feed(known_at, rule):
    times = pd.Series(pd.date_range(FIRST, periods=4, freq="h", tz="UTC", unit="us"))
    times[2] = known_at
    (against,) = reasons(check(batch(known_at=times), rows=[]))
    assert list(against) == [2]
    assert list(against[2]) == [rule]


def test_the_reasons_of_a_row_do_not_depend_on_other_batches():
    # A missing number elsewhere makes the column float: the reason must not say 300.0 for it.
    broken = batch(1, amount=[10, 300, 12, 13])
    with_missing = check(batch(0, amount=[10, None, 12, 13]), broken)
    alone = check(batch(0), broken)
    assert reasons(with_missing)[1] == reasons(alone)[1]


def test_a_missing_number_is_no_change_of_schema():
    given = gxe.ExpectColumnValuesToNotBeNull(column="amount", meta={"rule": "amount is given"})
    checked = check(batch(amount=[10, None, 12, 13], limit=200), rows=[given])
    assert reasons(checked) == [{1: {"amount is given": "amount=missing"}}]
    assert [table.schema for table, _ in checked.accepted.values()] == [SCHEMA]


def test_a_refused_batch_makes_later_ones_wait():
    checked = check(batch(0), batch(1, n_rows=1), batch(2), batch(3, n_rows=1))
    assert list(checked.accepted) == [day(0)]
    assert checked.refused == day(1)
    assert checked.refusal_reasons == ["row count: n_rows is 1, expected min_value 2, max_value 10"]


def test_too_many_broken_rows_refuse_the_batch():
    checked = check(batch(amount=[999, 999, 999, 13]))
    assert checked.refused == day(0)
    expected = "few bad rows: quarantined_share is 0.75, expected max_value 0.5"
    assert checked.refusal_reasons == [expected]


@pytest.mark.parametrize(
    ("broken", "difference"),
    [
        (batch(1).drop_columns(["amount"]), "missing: amount int64; unexpected: none"),
        (batch(1, extra=1), "missing: none; unexpected: extra int64"),
        (batch(1, amount="10"), "missing: amount int64; unexpected: amount string"),
        (batch(1, amount=10.5), "missing: amount int64; unexpected: amount double"),
        (batch(1).select(["amount", "account", "limit", "known_at"]), "in another order"),
        (batch(1, known_at="noon"), "missing: known_at timestamp[us, tz=UTC]"),
    ],
    ids=["gone", "new", "text", "fraction", "order", "time"],
)
def test_a_wrong_schema_is_found_before_rows_are_checked(broken, difference):
    checked = check(batch(0), broken, batch(2))
    assert list(checked.accepted) == [day(0)]
    assert checked.refused == day(1)
    assert checked.refusal_reasons[0].startswith("columns and types as declared: ")
    assert difference in checked.refusal_reasons[0]


def test_a_single_empty_batch_is_checked():
    checked = check(batch(n_rows=4).slice(0, 0))
    assert checked.refusal_reasons[0].startswith("row count: n_rows is 0")


@pytest.mark.parametrize(
    "rule",
    [
        gxe.ExpectColumnValuesToNotBeNull(column="gone", meta={"rule": "column is absent"}),
        gxe.ExpectColumnValuesToBeBetween(column="account", max_value=1, meta={"rule": "a type"}),
        gxe.ExpectColumnMeanToBeBetween(column="amount", max_value=99, meta={"rule": "no row's"}),
        AMOUNT,
    ],
    ids=["column", "type", "aggregate", "name"],
)
def test_a_rule_that_could_not_run_has_failed(rule):
    with pytest.raises(LoopError, match=f"{rule.meta['rule']}.*accounts_rows could not run"):
        check(batch(), rows=[AMOUNT, rule])


def test_facts_of_a_batch():
    frame = batch(amount=[10, None, 12, 13], account=["a", "b", "a", "c"]).to_pandas()
    facts = batch_facts.compute_batch_facts(
        frame, FIRST, key=["account"], n_quarantined=1, history=[4, 8, 8, 8] * 2
    )
    assert facts == {
        "n_rows": 4,
        "n_rows_ratio": 0.5,
        "hours_before_end": 21.0,
        "duplicate_share": 0.5,
        "quarantined_share": 0.25,
        "null_share_account": 0.0,
        "null_share_amount": 0.25,
        "null_share_limit": 0.0,
        "null_share_known_at": 0.0,
    }


def test_a_week_of_history_is_needed_for_a_ratio():
    frame = batch().to_pandas()
    arguments = {"key": ["account"], "n_quarantined": 0}
    few = batch_facts.compute_batch_facts(frame, FIRST, history=[4] * 6, **arguments)
    assert pd.isna(few["n_rows_ratio"])
    assert (
        batch_facts.compute_batch_facts(frame, FIRST, history=[4] * 7, **arguments)["n_rows_ratio"]
        == 1.0
    )
    assert batch_facts.compute_batch_facts(frame, FIRST, history=[0] * 7, **arguments)[
        "n_rows_ratio"
    ] == float("inf")


def test_a_batch_of_another_day_is_not_fresh():
    late = batch_facts.compute_batch_facts(
        batch(1).to_pandas(), FIRST, key=["account"], n_quarantined=0, history=[]
    )
    assert late["hours_before_end"] == 24.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, "5"), (5.0, "5"), (201301010515.0, "201301010515"), (1048.36058, "1048.36058"),
     (None, "missing"), (float("nan"), "missing"), (pd.NaT, "missing"), ("a", "a"),
     (pd.Timestamp("2030-05-01T05:00Z"), "2030-05-01T05:00:00+00:00"), (["a", "b"], "['a', 'b']")],
)  # fmt: skip
def test_a_value_is_formatted_the_same_in_any_type(value, expected):
    assert format_value(value) == expected
