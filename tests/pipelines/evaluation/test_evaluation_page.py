"""The page of an evaluation is complete, readable and self-contained."""

import re
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from monitoring.pages import charts
from pipelines.evaluation import evaluation_page, formatting

VOID = {"meta", "br", "img", "link"}
CANDIDATES = ("linear", "trees")


class Reader(HTMLParser):
    """Check that elements close in order; collect texts, ids and loaded URLs."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        attributes = dict(attrs)
        self.ids += [str(attributes["id"])] if "id" in attributes else []
        self.loaded += [
            str(attributes[name]) for name in ("src", "href", "xlink:href") if name in attributes
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def parse(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def verdict(gate: str, passed: bool, value: float | None, limit: float | None) -> dict[str, Any]:
    margin = None
    if value is not None and limit is not None:
        margin = abs(value - limit) * (1 if passed else -1)
    told = f"how {gate} was measured"
    return {"gate": gate, "passed": passed, "value": value, "limit": limit, "margin": margin,
            "told": told}  # fmt: skip


def case(
    names: Sequence[str] = CANDIDATES, *, champion: bool = True, n: int = 4000, value: str = "a"
) -> tuple[dict[str, dict[str, float]], dict[str, Any], pd.DataFrame]:
    """(metrics, result, scores) of an evaluation in which the last candidate wins."""
    rng = np.random.default_rng(0)
    risk = rng.beta(1, 3, n)
    scores = pd.DataFrame({"label": (rng.random(n) < risk).astype("int8")})
    models = ["baseline", *names, *(["champion"] if champion else [])]
    for at, name in enumerate(models):
        scores[name] = np.clip(risk + rng.normal(0, 0.02 * (at + 1), n), 0, 1)
    costs = dict(zip(models, (675.0, 567.0, 518.0, 544.0), strict=False))
    metrics = {name: {"auc": 0.7, "cost_per_1000": costs[name], "n": float(n)} for name in models}
    passes = [verdict("cheaper", True, 518.0, 641.0), verdict("compared", True, None, 25.0)]
    slices = [
        {"slice": kind, "value": each, "n": part, "base_rate": 0.25}
        | {f"{name}_cost": costs[name] + part / 100 for name in models}
        | {f"{name}_mean": 0.25 for name in models}
        for kind, parts in (("region", {value: n - 20, "tiny": 20}), ("side", {"c": n}))
        for each, part in parts.items()
    ]
    result = {
        "winner": names[-1], "verdicts": dict.fromkeys(names, passes), "slices": slices,
        "manifest": {"as_of": "2020-05-01T00:00:00+00:00", "n_train": 12345, "n_holdout": n,
                     "holdout_start": "2020-04-17T00:00:00+00:00"},
    }  # fmt: skip
    return metrics, result, scores


def refused() -> tuple[dict[str, dict[str, float]], dict[str, Any], pd.DataFrame]:
    metrics, result, scores = case()
    result["winner"] = None
    result["verdicts"] = {
        "linear": [verdict("cheaper", False, 660.5, 641.0), verdict("compared", True, 3.0, 25.0)],
        "trees": [verdict("cheaper", True, 518.0, 641.0), verdict("compared", False, None, None)],
    }
    return metrics, result, scores


@pytest.fixture(scope="module")
def page_with_winner() -> str:
    return evaluation_page.render_evaluation_page(*case())


@pytest.fixture(scope="module")
def page_without_winner() -> str:
    return evaluation_page.render_evaluation_page(*refused())


def test_outcome_with_a_winner(page_with_winner: str) -> None:
    text = parse(page_with_winner).text
    assert "trees passed every gate and wins." in text
    assert "518 per 1,000 cases, 23.3% below the baseline (675)" in text
    assert "4.8% below the champion (544)" in text
    assert "no champion yet" not in text
    assert "linear passed too; it costs 567" in text
    assert "trees passed too" not in text
    assert "As of 2020-05-01 00:00 UTC. Fitted on 12,345 cases, evaluated on the 4,000" in text


def test_outcome_with_a_winner_dearer_than_the_champion() -> None:
    metrics, result, scores = case(n=200)
    metrics["champion"]["cost_per_1000"] = 500.0
    assert (
        "3.6% above the champion (500)"
        in parse(evaluation_page.render_evaluation_page(metrics, result, scores)).text
    )


def test_refusals_name_gate_candidate_and_distance(page_without_winner: str) -> None:
    text = parse(page_without_winner).text
    assert "No candidate passed." in text
    assert "wins" not in text
    assert "linear is refused by “cheaper”: 660.5, must be ≤ 641, off by 19.5" in text
    assert "trees is refused by “compared”: how compared was measured" in text


def test_gate_table_has_each_candidate_at_each_gate(page_without_winner: str) -> None:
    rows = re.findall(r'<tr class="(passed|refused)">(.*?)</tr>', page_without_winner, re.S)
    assert [kind for kind, _ in rows] == ["refused", "passed", "passed", "refused"]
    assert ["linear" in row for _, row in rows] == [True, False, True, False]
    cells = re.findall(r'<td class="number">(.*?)</td>', rows[0][1])
    assert cells == ["660.5", "≤ 641", "-19.5"]


def test_all_plots_are_there_with_text_alternatives(page_with_winner: str) -> None:
    reader = parse(page_with_winner)
    assert reader.elements.count("svg") == 3 + len(CANDIDATES) + 2
    for title in ("Cost", "ROC", "Calibration", "Probabilities of trees", "Cost by region"):
        assert title in reader.text
    assert reader.elements.count("figcaption") == reader.elements.count("svg")
    assert "tiny" in reader.text  # too small for the plot, so in the table


def test_page_loads_nothing_and_its_ids_are_unique(page_with_winner: str) -> None:
    reader = parse(page_with_winner)
    assert all(link.startswith("#") for link in reader.loaded)
    assert {link[1:] for link in reader.loaded} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert not {"script", "link", "iframe"} & set(reader.elements)
    assert "@import" not in page_with_winner


def test_names_are_escaped() -> None:
    hostile = "<script>alert('&')</script>"
    metrics, result, scores = case((hostile, "a$b$c"), champion=False, value='"><b>$x^2$')
    result["winner"] = hostile
    result["verdicts"][hostile] = [
        verdict(hostile, True, 1.0, 2.0), verdict("compared", False, None, None),
    ]  # fmt: skip
    html = evaluation_page.render_evaluation_page(metrics, result, scores)
    assert "<script" not in html
    assert '"><b>$' not in html
    text = parse(html).text
    assert f"{hostile} passed every gate" in text
    assert "there is no champion yet" in text
    # Also in plots, as plain text and not as a formula.
    assert text.count(hostile) > 8
    assert text.count("a$b$c") > 6
    assert text.count('"><b>$x^2$') == 2


def test_page_is_small_fast_and_deterministic() -> None:
    given = case(n=13_000)
    started = time.process_time()
    page = evaluation_page.render_evaluation_page(*given)
    seconds = time.process_time() - started
    assert page == evaluation_page.render_evaluation_page(*given)
    assert len(page.encode()) < 1_000_000
    assert seconds < 2.5


def test_figures_for_tracking() -> None:
    metrics, _, scores = case(champion=False)
    for name in ("trees", "baseline"):
        result = charts.evaluation_figures({name: metrics[name]}, scores, name)
        assert list(result) == ["roc", "calibration", "histogram"]
        assert all(isinstance(figure, Figure) for figure in result.values())
        curves = [line.get_label() for line in result["roc"].axes[0].lines[1:]]
        assert curves == [*(["baseline"] if name != "baseline" else []), f"{name}, AUC 0.700"]


def test_roc_and_calibration_draw_the_scores() -> None:
    label = np.tile([0, 0, 0, 1], 100)
    scores = pd.DataFrame({"label": label, "perfect": label * 0.8 + 0.1, "flat": 0.25})
    curves = charts.roc_figure({}, scores, ["perfect", "flat"]).axes[0].lines[1:]
    assert [0.0, 1.0] in curves[0].get_xydata().tolist()  # a perfect ranking reaches the corner
    assert curves[1].get_xydata().tolist() == [[0.0, 0.0], [1.0, 1.0]]
    points = charts.calibration_figure(scores, ["flat"]).axes[0].lines[0].get_xydata().tolist()
    assert points == [[0.25, 0.25]]


def test_histogram_shows_shares_of_each_label() -> None:
    scores = pd.DataFrame({"label": [0] * 90 + [1] * 10, "model": [0.1] * 90 + [0.9] * 10})
    axes = charts.histogram_figure(scores, "model").axes[0]
    heights = [max(patch.get_height() for patch in bars) for bars in axes.containers]
    assert heights == pytest.approx([1.0, 1.0])


def test_cost_bars_and_slice_dots() -> None:
    metrics, result, _ = case()
    bars = charts.cost_figure(metrics).axes[0].patches
    assert [bar.get_width() for bar in bars] == [675.0, 567.0, 518.0, 544.0]
    rows = [row for row in result["slices"] if row["slice"] == "region"]
    axes = charts.slice_cost_figure(rows[::-1], ["baseline", "trees"]).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a  (3,980)", "tiny  (20)"]
    dots = axes.collections[1:]
    assert [dot.get_offsets()[0, 0] for dot in dots] == pytest.approx([714.8, 557.8])


def test_candidate_keeps_its_colour_beside_any_others() -> None:
    alone = charts.model_colours(["linear", "trees"])
    assert (
        charts.model_colours(["baseline", "linear", "trees", "champion"])
        == charts.ROLE_COLOURS | alone
    )
    assert len(set(charts.model_colours(["baseline", *"abcde", "champion"]).values())) == 7


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (12805, "12,805"), (1234.56, "1,235"), (518.24, "518.2"), (1.6497, "1.65"),
     (0.76086, "0.7609"), (0, "0"), (0.00024, "0.00024"), (1e-9, "1e-09"), (-25.69, "-25.7"),
     (float("nan"), "nan")],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(
    ("passed", "value", "limit", "text"),
    [(True, 3.0, 5.0, "≤ 5"), (False, 7.0, 5.0, "≤ 5"), (True, 7.0, 5.0, "≥ 5"),
     (False, 3.0, 5.0, "≥ 5"), (True, 5.0, 5.0, "≤ 5"), (False, None, 5.0, "5"),
     (False, None, None, "–")],
)  # fmt: skip
def test_limit_has_a_direction(
    passed: bool, value: float | None, limit: float | None, text: str
) -> None:
    assert formatting.format_limit(verdict("any", passed, value, limit)) == text


def test_slices_under_a_hundredth_of_their_kind_are_left_out() -> None:
    sizes = (("a", "x", 990), ("a", "y", 10), ("b", "x", 991), ("b", "y", 9))
    rows = [{"slice": kind, "value": value, "n": n} for kind, value, n in sizes]
    large = formatting.large_slices(rows)
    assert [(row["slice"], row["value"]) for row in large] == [("a", "x"), ("a", "y"), ("b", "x")]
