"""The monitoring page: self-contained, reproducible, escaped, clear about missing values."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring.measures import performance
from monitoring.pages import monitoring_page

COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}


def predictions(n_rows: int = 1400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 5, n_rows)
    at = pd.date_range("2013-04-01", periods=n_rows, freq="14min", tz="UTC")
    label = (rng.random(n_rows) < probability).astype("float64")
    return pd.DataFrame({"decision_time": at, "probability": probability, "label": label})


def result(joined: pd.DataFrame, **changed: Any) -> dict[str, Any]:
    moved = {"score": 0.9, "limit": 0.5, "drifted": True}
    live = performance.live_metrics(joined, COSTS, seed=1)
    trigger = {
        "name": "schedule", "value": 14.0, "limit": 14, "fired": True, "acts": True, "told": "due",
    }  # fmt: skip
    row = {"slice": "region", "value": "<north>", "n": 3, "enough": False, "cost_low": 400.0,
           "cost_high": 600.0, "bias_low": -0.2, "bias_high": 0.22, "missing": 0.25,
           "cost_per_1000": 500.0, "bias": 0.01, "base_rate": 0.3}  # fmt: skip
    unlabelled = dict.fromkeys(row) | {"slice": "region", "value": "south", "n": 0, "enough": False,
                                 "missing": 1.0}  # fmt: skip
    return {
        "as_of": "2013-04-15T00:00:00+00:00", "champion": "3", "retrain": True,
        "reason": "due; a & b", "problems": [], "triggers": [trigger],
        "n_predictions": len(joined), "live": live, "estimated": 487.0,
        "uncounted": {"route": 1200, "late": 7}, "uncounted_share": 0.463,
        "expected": live | {"cost_per_1000": 512.0},
        "slices": [row, unlabelled],
        "drift": {"features": {"amount": moved}, "prediction": moved | {"drifted": False}},
        **changed,
    }  # fmt: skip


def write_page(path: Path, joined: pd.DataFrame, **changed: Any) -> str:
    labelled = joined.dropna(subset="label")
    shown = result(predictions() if labelled.empty else joined, **changed)
    monitoring_page.write_monitoring_page(
        path, shown, performance.daily_performance(joined, COSTS), joined, predictions(seed=9)
    )
    return path.read_text()


class Tags(HTMLParser):
    """Collect the tags that stay open, and the links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_complete_and_loads_nothing(tmp_path: Path) -> None:
    text = write_page(tmp_path / "reports" / "page.html", predictions())
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert [link for link in tags.links if not link.startswith("#")] == []
    assert text.count("<svg") == 5
    assert "1,400 predictions, 100.0% with a known label" in text
    assert "Estimated cost of the last week: 487 per 1,000" in text
    assert "46.3% of the window's predictions were no decisions on time" in text
    assert "route 1,200, late 7." in text
    assert "<strong>Retrain</strong><ul><li>due</li><li>a &amp; b</li>" in text
    assert "&lt;north&gt;" in text
    assert "too few labels to judge" in text


def test_the_ids_of_the_figures_differ(tmp_path: Path) -> None:
    ids = re.findall(r' id="([^"]+)"', write_page(tmp_path / "page.html", predictions()))
    assert len(ids) == len(set(ids))


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_page(tmp_path / "first.html", predictions())
    assert first == write_page(tmp_path / "second.html", predictions())


def test_without_labels_and_drift_the_page_shows_the_predictions(tmp_path: Path) -> None:
    unlabelled = predictions().assign(label=np.nan)
    text = write_page(
        tmp_path / "page.html", unlabelled,
        live=None, drift=None, slices=[], problems=["drift (no value)"], retrain=False,
    )  # fmt: skip
    assert "0.0% with a known label" in text
    assert "allow no metric" in text
    assert text.count("<svg") == 1
    assert 'class="outcome none"><strong>Keep the model' in text
