"""A stage whose output only grows runs in one process of DVC with the stage that needs it."""

from pathlib import Path

import yaml

from pipelines.training import dvc_stages
from settings import Settings
from tests.use_case import USE_CASE

# In another order than that of the work.
STAGES = {
    "last": {
        "cmd": "cp made-${item} judged-${item}", "deps": ["made-${item}"],
        "outs": ["judged-${item}"],
    },
    "make": {
        "cmd": "cp days-${item}/one made-${item}", "deps": ["days-${item}"],
        "outs": ["made-${item}"],
    },
    "grow": {
        "cmd": "mkdir -p days-${item} && cp given days-${item}/one", "deps": ["given"],
        "outs": [{"days-${item}": {"persist": True}}],
    },
}  # fmt: skip


def test_a_growing_stage_runs_before_the_stage_that_needs_it(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    place = home.var / "training" / "one"
    dvc_stages.init_dvc(home, place)
    staged = {name: {"foreach": [USE_CASE.name, "other"], "do": do} for name, do in STAGES.items()}
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": staged}, sort_keys=False))
    (place / "given").write_text("input")
    stages = dvc_stages.recipe_stages(home, place)
    assert list(stages.items()) == [
        (f"make@{USE_CASE.name}", [f"grow@{USE_CASE.name}"]), (f"last@{USE_CASE.name}", []),
    ]  # fmt: skip
    for ran in (True, False):
        for name, before in stages.items():
            assert dvc_stages.run_stage(home, place, name, before)["ran"] is ran
    assert (place / f"judged-{USE_CASE.name}").read_text() == "input"
    assert set(yaml.safe_load((place / "dvc.lock").read_text())["stages"]) == {
        f"{name}@{USE_CASE.name}" for name in STAGES
    }
    assert (place / "dvc.log").read_text().count("$ dvc ") == 4
