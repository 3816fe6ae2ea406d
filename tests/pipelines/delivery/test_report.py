"""The report on a change has every section and refuses a change that makes the model worse."""

import json
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.delivery import measurement
from pipelines.delivery import report as delivery
from pipelines.evaluation.evaluate import CANDIDATE_GATES
from pipelines.training import workspace
from settings import UserError
from tests.slice_params import shipped_params
from tests.use_case import PARAMS_FILE

pytestmark = pytest.mark.long  # runs the recipe with the code of another commit

TINY = {
    "as_of": "2013-01-12T00:00:00Z",
    "training": {"holdout_days": 3, "search": {"n_iter": 1, "max_iter": [20]}},
    # The slice has too few days for the shipped limits; other tests check speed.
    "gates": {
        "min_train": 1000, "min_slice": 50, "min_slice_compared": 100,
        "max_calibration_gap": 0.25, "min_saving": -0.5,
        "max_slice_ratio": 3.0, "storm_raises": -1.0, "calm_lowers": -1.0, "tail_moves": 1.0,
        "min_days": 2, "max_slice_calibration_gap": 0.5, "max_error_excess": 0.5,
        "max_column_auc": 0.95, "max_value_rate": 1.0, "early_calm": 1.0, "late_storm": 0.0,
        "artefact": {"max_latency_ms": 1000.0, "max_score_distance": 0.5},
    },
}  # fmt: skip
Spoil = Callable[[dict[str, Any], pd.DataFrame], None]


def worktrees() -> set[str]:
    command = ["git", "worktree", "list", "--porcelain"]
    listed = subprocess.run(
        command, cwd=workspace.SOURCE_ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {line for line in listed.splitlines() if line.startswith("worktree ")}


@pytest.fixture(scope="module")
def main_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measure the last commit with its own code: recipe, gates and refit."""
    folder = tmp_path_factory.mktemp("main")
    (folder / "slice.yaml").write_text(yaml.safe_dump(TINY))
    before = worktrees()
    with pytest.MonkeyPatch.context() as patched:
        # Coverage must not count the lines of another commit as ours.
        patched.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        measurement.measure_commit("HEAD", folder / "report", folder / "slice.yaml")
    assert worktrees() <= before
    return folder / "report"


@pytest.fixture
def compared(main_report: Path, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Return exit code, report.json and report.md of a change that only does `spoil`."""

    def compare(spoil: Spoil | None = None, *, base: bool = True) -> tuple[int, Any, str]:
        head, out = tmp_path / "head", tmp_path / "out"
        main = measurement.read_measurement(main_report)
        report, predictions = deepcopy(main.report), main.predictions.copy()
        if spoil:
            spoil(report, predictions)
        head.mkdir()
        (head / "report.json").write_text(json.dumps(report))
        predictions.to_parquet(head / "predictions.parquet")
        options = ["--out", str(out), "--head", str(head)]
        code = delivery.main([*options, *(["--base", str(main_report)] if base else [])])
        return code, json.loads((out / "report.json").read_text()), (out / "report.md").read_text()

    return compare


def refuse(report: dict[str, Any], candidate: str, gate: str) -> None:
    each = next(each for each in report["verdicts"][candidate] if each["gate"] == gate)
    each |= {"passed": False, "value": 0.4, "limit": 0.1, "margin": -0.3}


def test_a_change_that_changes_nothing_is_accepted_with_every_section(compared: Any) -> None:
    code, report, page = compared()
    assert (code, report["refused"]) == (0, [])
    assert "**Accepted.**" in page
    for section in ("Metrics", "Gates", "The refit as served", "Compared with main"):
        assert f"\n## {section}\n" in page
    for name in ("baseline", "logistic_regression", "gradient_boosting"):
        assert f"|{name}|{report['measured'][name]['auc']:.4f} (+0)|" in page
    verdicts = [each for judged in report["verdicts"].values() for each in judged]
    assert len(verdicts) == 2 * len(CANDIDATE_GATES)  # of two candidates
    for each in [*verdicts, *report["artefact"], *report["against_main"]]:
        assert f"|{each['gate']}|passed|" in page
    assert {"small enough", "fast enough", "served as fitted"} <= {
        each["gate"] for each in report["artefact"]
    }
    size = next(line for line in page.splitlines() if line.startswith("|small enough|"))
    assert "|× 1.00|" in size
    # The same scores on the same cases: no difference.
    assert report["against_main"][0]["value"] == 0.0
    assert report["against_main"][0]["n_cases"] == report["manifest"]["n_holdout"]
    assert "The rules are those of main." in page


def test_without_a_base_it_says_so(compared: Any) -> None:
    code, _, page = compared(base=False)
    assert code == 0
    assert "Not compared" in page


def test_a_candidate_that_passes_only_on_main_is_refused_by_name(
    compared: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(report: dict[str, Any], _: pd.DataFrame) -> None:
        loser = next(name for name in report["verdicts"] if name != report["winner"])
        refuse(report, loser, "calibrated")

    code, report, page = compared(spoil)
    assert code == 1
    [reason] = report["refused"]
    assert "which passes on main, is refused by “calibrated”: 0.4000, must be ≤ 0.1000" in reason
    assert reason in page
    assert reason in capsys.readouterr().err
    assert "|calibrated|**REFUSED**|" in page


def test_no_candidate_at_all(compared: Any) -> None:
    def spoil(report: dict[str, Any], _: pd.DataFrame) -> None:
        for name in report["verdicts"]:
            refuse(report, name, "behaves")
        report.update(winner=None, artefact=[])

    code, report, page = compared(spoil, base=False)
    assert code == 1
    assert report["refused"][0] == "No candidate passes every gate."
    assert all("is refused by “behaves”" in reason for reason in report["refused"][1:])
    assert len(report["refused"]) == 3
    assert "No refit: no candidate passed." in page


def test_a_refit_that_is_too_large(compared: Any) -> None:
    def spoil(report: dict[str, Any], _: pd.DataFrame) -> None:
        each = next(each for each in report["artefact"] if each["gate"] == "small enough")
        each |= {"passed": False, "value": 25.0, "margin": -5.0}

    code, report, page = compared(spoil)
    assert code == 1
    assert "refit" in report["refused"][0]
    assert "“small enough”: 25, must be ≤ 20, off by 5" in report["refused"][0]
    assert "|small enough|**REFUSED**|25|" in page


def test_a_winner_that_is_worse_than_mains_on_the_same_cases(compared: Any) -> None:
    def spoil(report: dict[str, Any], predictions: pd.DataFrame) -> None:
        predictions[report["winner"]] = 0.9  # alarms everywhere; the verdicts stay

    code, report, _ = compared(spoil)
    assert code == 1
    assert len(report["refused"]) == 2
    for reason, gate in zip(
        report["refused"], ("not worse than the champion", "log loss holds"), strict=True
    ):
        assert f"as the champion, is refused by “{gate}”" in reason


def test_no_case_in_common_is_a_comparison_that_failed(compared: Any) -> None:
    def spoil(_: dict[str, Any], predictions: pd.DataFrame) -> None:
        predictions["key"] = "other " + predictions["key"]

    code, report, _ = compared(spoil)
    assert code == 1
    assert "as the champion, is refused" in report["refused"][0]


def test_loosened_limits_and_lost_gates_are_listed(compared: Any) -> None:
    def spoil(report: dict[str, Any], _: pd.DataFrame) -> None:
        report["params"]["gates"]["artefact"]["max_size_mb"] = 500.0
        for judged in report["verdicts"].values():
            judged[:] = [each for each in judged if each["gate"] != "slices hold"]

    _, _, page = compared(spoil)
    assert "- gates.artefact.max_size_mb: 20.0 on main, 500.0 now\n" in page
    assert "- gate slices hold: present on main, absent now\n" in page


def test_an_unusable_base_is_refused_before_anything_is_measured(
    tmp_path: Path, main_report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    report = json.loads((main_report / "report.json").read_text())
    (old / "report.json").write_text(json.dumps(report | {"format": 0}))
    assert delivery.main(["--out", str(tmp_path / "out"), "--base", str(old)]) == 2
    assert "lacks a report with its predictions" in capsys.readouterr().err
    (old / "predictions.parquet").write_bytes((main_report / "predictions.parquet").read_bytes())
    assert delivery.main(["--out", str(tmp_path / "out"), "--base", str(old)]) == 2
    assert "is not of format" in capsys.readouterr().err
    assert delivery.main(["--out", str(tmp_path / "out"), "--base", "no-such-branch"]) == 2
    error = capsys.readouterr().err
    assert "no-such-branch is neither the folder of a report nor a commit here" in error


def test_a_slice_may_only_set_existing_parameters(tmp_path: Path) -> None:
    (tmp_path / "slice.yaml").write_text("training: {fold: 3}")
    with pytest.raises(UserError, match=r"training\.fold, which params\.yaml does not have"):
        measurement.scratch_settings(tmp_path / "home", tmp_path / "slice.yaml")
    for content, problem in (("[[seed, 1]]", "must hold a mapping"), ("{", "can't be read")):
        (tmp_path / "slice.yaml").write_text(content)
        with pytest.raises(UserError, match=problem):
            measurement.scratch_settings(tmp_path / "home", tmp_path / "slice.yaml")
    home = tmp_path / "other"
    settings = measurement.scratch_settings(home, PARAMS_FILE.with_name("slice.yaml"))
    own = shipped_params()
    assert settings.params()["gates"] == own["gates"]
    assert settings.params()["as_of"] != own["as_of"]
