"""Tests of the model card: it has every fact, and refuses missing ones."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.registry import model_card
from settings import LoopError
from tests.use_case import USE_CASE

GOVERNED: dict[str, Any] = {
    "owner": "the tests", "contact": "the tests' mail", "purpose": "To be tested.",
    "monitoring": ["watched by the tests"],
    "risks": [{"harmed": "who waits", "how": "by waiting", "limited_by": "patience"}],
    "risks_approved_by": "a tester", "risks_approved_at": "2020-04-01",
}  # fmt: skip
PROSE = "## Data\nMade up."


def use_case_card(governed: Any = GOVERNED, prose: str = PROSE) -> str:
    """Return the text of a use case's `card.md`."""
    return f"---\n{yaml.safe_dump(governed)}---\n{prose}\n"


TEXT = use_case_card()
METRICS = {
    "auc": 0.75, "log_loss": 0.45, "brier": 0.15, "calibration_gap": 0.01,
    "calibration_error": 0.02, "cost_per_1000": 518.235, "positive_rate": 0.4, "base_rate": 0.25,
    "n": 12805.0,
}  # fmt: skip


def verdict(gate: str, **changes: Any) -> dict[str, Any]:
    passed = {"passed": True, "value": 0.0112, "limit": 0.08, "margin": 0.0688, "told": "|a - b|"}
    return {"gate": gate, **passed, **changes}


def slice_row(value: str, ratio: float, n: int = 1000) -> dict[str, Any]:
    return {"slice": "region", "value": value, "n": n, "base_rate": 0.25,
            "baseline_cost": 600.0, "trees_cost": 600.0 * ratio}  # fmt: skip


def facts(**changes: Any) -> dict[str, Any]:
    given = {
        "training_id": "20200501T0000-ab12cd34", "as_of": "2020-05-01T00:00:00+00:00",
        "data_until": "2020-05-02T00:00:00+00:00", "holdout_start": "2020-04-17T00:00:00+00:00",
        "dvc_md5_training": f"{'1' * 32}.dir", "dvc_md5_validated": f"{'2' * 32}.dir",
        "git_commit": f"{'3' * 40}-dirty", "code_sha256": "7" * 64,
        "lock_sha256": "4" * 64, "seed": "20200501",
        "feast_registry_version": "5" * 64, "digest": "6" * 64, "candidate": "trees",
        "measured": {"baseline": METRICS | {"auc": 0.651}, "linear": METRICS | {"auc": 0.731},
                     "trees": METRICS | {"auc": 0.761}},
        "verdicts": [verdict("calibrated"), verdict("small enough", value=1.0, limit=20.0)],
        "slices": [slice_row("north", 0.9), slice_row("south", 0.7), slice_row("east", 1.1),
                   slice_row("west", 0.8), slice_row("inner", 0.85), slice_row("rare", 2.0, n=9)],
        "tried": {"trees": {"draws": 3, "params": {"depth": 2}},
                  "linear": {"draws": 1, "params": {}}},
        "intervals": {"cost_per_1000": (490.0, 540.0)},
        "behaviours": {"more of it raises the risk": {"passed": True, "value": 0.1, "limit": 0.05}},
        "importance": {"a column": 0.0123, "another": -0.0001},
    }  # fmt: skip
    return given | changes


def test_the_card_has_the_text_and_every_fact_of_the_version() -> None:
    text = model_card.render_model_card(TEXT, facts())
    assert text.startswith("# Model card: trees\n")
    assert PROSE in text
    for fact in ("20200501T0000-ab12cd34", f"{'1' * 32}.dir", "2020-05-02", "`20200501`", "3-dirty",
                 "4444", "5555", "6666", "2020-04-17"):  # fmt: skip
        assert fact in text


def test_metrics_are_shown_with_baseline_and_champion() -> None:
    text = model_card.render_model_card(TEXT, facts())
    assert "|metric|trees|90% interval|baseline|\n" in text
    assert "|auc|0.7610||0.6510|\n" in text
    assert "|cost per 1000|518.2|490 to 540|518.2|\n" in text
    assert "0.7310" not in text  # a candidate that was not registered
    measured = facts()["measured"] | {"champion": METRICS | {"auc": 0.751}}
    assert "|auc|0.7610||0.6510|0.7510|\n" in model_card.render_model_card(
        TEXT, facts(measured=measured)
    )


def test_gates_are_shown_with_their_values() -> None:
    text = model_card.render_model_card(TEXT, facts())
    assert r"|calibrated|passed|0.0112|≤ 0.0800|+0.0688|\|a - b\||" + "\n" in text
    refused = verdict("calibrated", passed=False, value=0.1, margin=-0.02)
    assert "|calibrated|REFUSED|0.1000|≤ 0.0800|-0.0200|" in model_card.render_model_card(
        TEXT, facts(verdicts=[refused])
    )


def test_the_card_shows_the_weakest_and_strongest_large_slices() -> None:
    text = model_card.render_model_card(TEXT, facts())
    lines = text[text.index("## Slices") : text.index("## Risks")].strip().splitlines()[4:]
    assert [line.split("|")[1] for line in lines] == [
        "region east", "region north", "region west", "region south",
    ]  # fmt: skip
    assert lines[0] == "|region east|1,000|0.2500|660|-10%|"
    few = model_card.render_model_card(
        TEXT, facts(slices=[slice_row("north", 0.9), slice_row("south", 0.7)])
    )
    assert few.count("|region ") == 2


@pytest.mark.parametrize(
    "name", [*model_card.DESCRIPTION_FACTS, *model_card.EXPLANATION_FACTS]
)  # fmt: skip
@pytest.mark.parametrize("gone", [None, "", "absent"])
def test_a_missing_fact_is_refused(name: str, gone: str | None) -> None:
    given = facts(**{name: gone})
    if gone == "absent":
        del given[name]
    with pytest.raises(LoopError, match=name):
        model_card.render_model_card(TEXT, given)


def test_a_version_without_verdicts_is_refused() -> None:
    with pytest.raises(LoopError, match="verdicts"):
        model_card.render_model_card(TEXT, facts(verdicts=[]))


def test_a_description_too_long_for_the_registry_is_refused() -> None:
    room = (
        model_card.MAX_DESCRIPTION_LENGTH
        - len(model_card.render_registry_description(use_case_card(prose="x"), facts()))
        + 1
    )
    assert (
        len(model_card.render_registry_description(use_case_card(prose="x" * room), facts()))
        == model_card.MAX_DESCRIPTION_LENGTH
    )
    with pytest.raises(LoopError, match=r"card\.md by 3\."):
        model_card.render_registry_description(use_case_card(prose="x" * (room + 3)), facts())


def test_the_shipped_card_fits_into_the_registry() -> None:
    measured = facts()["measured"] | {"champion": METRICS}
    slices = [slice_row(f"a long value {number}", number / 10) for number in range(9)]
    known = dict.fromkeys(METRICS, (123.4, 1234.5))
    text = model_card.read_use_case_card(USE_CASE)
    card = model_card.render_registry_description(
        text, facts(measured=measured, slices=slices, intervals=known)
    )
    assert model_card.parse_governance(text)[1] in card
    assert "Owner:" in card


@pytest.mark.parametrize("name", list(GOVERNED))
@pytest.mark.parametrize("gone", [None, "", [], "absent"])
def test_missing_governance_is_refused(name: str, gone: Any) -> None:
    given = {**GOVERNED, name: gone}
    if gone == "absent":
        del given[name]
    for write in (model_card.render_model_card, model_card.render_registry_description):
        with pytest.raises(LoopError, match=name):
            write(use_case_card(given), facts())


@pytest.mark.parametrize("name", ["harmed", "how", "limited_by"])
def test_an_incomplete_risk_is_refused(name: str) -> None:
    given = {**GOVERNED, "risks": [{**GOVERNED["risks"][0], name: " "}]}
    with pytest.raises(LoopError, match=name):
        model_card.render_model_card(use_case_card(given), facts())


@pytest.mark.parametrize("text", ["", "## Owner\nme", "---\n[a, b]\n---\n", "---\n: :\n---\n"])
def test_a_card_without_front_matter_is_refused(text: str) -> None:
    with pytest.raises(LoopError, match="front matter"):
        model_card.render_model_card(text, facts())


def test_the_page_has_the_same_facts_and_loads_no_other_file() -> None:
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.random((200, 3)), columns=["baseline", "linear", "trees"])
    scores["label"] = rng.integers(0, 2, 200)
    card = model_card.render_model_card(TEXT, facts())
    html = model_card.render_model_card_page(card, facts(), scores)
    for fact in ("the tests", "a tester", "2020-04-01", "who waits", "patience", "a column",
                 "watched by the tests", "more of it raises", "490 to 540", "6666"):  # fmt: skip
        assert fact in html
    assert html.count("<svg") == 4
    assert not re.search(r"""(src|href)=["']http""", html)


def test_table_cells_are_escaped() -> None:
    text = model_card.render_model_card(TEXT, facts(verdicts=[verdict("a|b\n<b>")]))
    assert r"|a\|b &lt;b&gt;|passed|" in text
