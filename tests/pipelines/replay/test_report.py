"""The replay page and table: their figures are those of the replayed days."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.replay import fast_replay, policies, replay_page, served_record, served_replay
from settings import Settings, UserError
from tests import slice_params

FIRST, END = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 4, 21, tzinfo=UTC)


def days(cost: float, *, released_at: int | None = None) -> list[dict[str, Any]]:
    return [
        {
            "day": f"{day:%Y-%m-%d}", "n": 100, "cost": cost + number % 3, "baseline_cost": 80.0,
            "trained": int(number == (released_at or -9) - 3),
            "released": int(number == released_at), "withdrawn": 0,
            "rollout": "promote: no harm" if number == released_at else "",
            "reason": "asked for: <a season>", "fired": ["drift"] if number > 9 else [],
            "verdicts": [], "bias": 0.01 * number, "delay_hours": 4.5,
            "drift": {"a": 0.2, "b": 1.3}, "champion": "x", "challenger": None, "stage": None,
            "retrain": False, "gap": 0.01 * number, "coverage": 0.9, "drift_share": 0.5,
        }
        for number, day in enumerate(pd.date_range(FIRST, END, inclusive="left"))
    ]  # fmt: skip


def settings_with(home: Path, replayed: dict[str, list[dict[str, Any]]]) -> Settings:
    settings = Settings(home=home)
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(json.dumps(slice_params.slice_params()))
    for name, records in replayed.items():
        place = fast_replay.replay_folder(settings, FIRST, name)
        place.mkdir(parents=True)
        (place / served_record.DAYS_FILE).write_text(
            "".join(json.dumps(each) + "\n" for each in records)
        )
    return settings


def test_the_page_starts_with_the_saving_and_is_self_contained(tmp_path: Path) -> None:
    replayed = {"never": days(60), "hybrid": days(53, released_at=8)}
    text = replay_page.write_replay_page(settings_with(tmp_path, replayed), FIRST, END).read_text()
    assert "<strong>Retraining saved costs, before its own price</strong>" in text
    assert "1 retraining saved 11.5% of the cost of the first model" in text
    assert "On 10 days a check was over its limit. 1 of 1 new models passed" in text
    assert "&lt;a season&gt;" in text
    assert "<a season>" not in text
    assert "src=" not in text.replace("xmlns", "")
    assert 'name="viewport"' in text


def test_the_page_compares_the_served_replay_with_the_fast_one(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, {"never": days(60), "hybrid": days(53, released_at=8)})
    own = served_replay.replay_home(settings, FIRST, "hybrid")
    for each in days(53, released_at=8)[:-1]:
        served_record.append_day_record(served_record.records_folder(own), each)
    name = "Days on which the fast replay differs"
    page = replay_page.write_replay_page(settings, FIRST, END).read_text()
    assert "19 days and 1,900 predictions over HTTP" in page
    assert f'<th>{name}</th><td class="number">0 of 19</td>' in page
    served_record.append_day_record(
        served_record.records_folder(own), days(53)[-1] | {"trained": 1}
    )
    page = replay_page.write_replay_page(settings, FIRST, END).read_text()
    assert f'<th>{name}</th><td class="number">1 of 20: trained</td>' in page
    (fast_replay.replay_folder(settings, FIRST, "hybrid") / served_record.DAYS_FILE).unlink()
    platform = replay_page.read_platform(settings, FIRST, END)
    assert platform is not None
    assert (name, "not replayed") in platform["rows"]


def test_a_loss_is_not_reported_as_a_saving(tmp_path: Path) -> None:
    replayed = {"never": days(53), "hybrid": days(60, released_at=8)}
    text = replay_page.write_replay_page(settings_with(tmp_path, replayed), FIRST, END).read_text()
    assert "<strong>No saving is shown</strong>" in text


def test_incomplete_policies_and_half_written_days_are_left_out(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, {"never": days(60), "hybrid": days(53)[:-1]})
    path = fast_replay.replay_folder(settings, FIRST, "hybrid") / served_record.DAYS_FILE
    path.write_text(path.read_text() + '{"day": "2013-04')
    with pytest.raises(UserError, match="mlops replay --fast --from 2013-04-01 --to 2013-04-21"):
        replay_page.write_replay_page(settings, FIRST, END)


def test_the_table_has_a_row_for_each_policy() -> None:
    replayed = {name: pd.DataFrame(each) for name, each in
             {"never": days(60), "hybrid": days(53, released_at=8)}.items()}  # fmt: skip
    table = policies.format_policy_table(replayed, slice_params.slice_params())
    assert "| never | 0 | 0 | 609.5 | 0.0% | " in table
    assert "| hybrid | 1 | 1 | 539.5 | 11.5% | " in table


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["replay", "--sensitivity"], "--fast"),
        (["replay", "--from", "soon"], "--from is 'soon'"),
        (["replay", "--fast", "--policy", "weekly"], "weekly"),
        (["report"], "mlops replay"),
        (["replay", "--from", "2013-05-01", "--to", "2013-05-01"], "has no day. Set replay.until"),
    ],
)
def test_mistakes_of_the_user_end_with_exit_code_2(
    command: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_with(tmp_path, {})
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert message in result.output
