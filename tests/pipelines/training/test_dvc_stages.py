"""A stage whose output only grows runs in one process of DVC with the stage that needs it."""

from pathlib import Path

import yaml

from pipelines.training import dvc_stages
from settings import Settings

# In another order than that of the work.
STAGES = {
    "last": {"cmd": "cp made judged", "deps": ["made"], "outs": ["judged"]},
    "make": {"cmd": "cp days/one made", "deps": ["days"], "outs": ["made"]},
    "grow": {
        "cmd": "mkdir -p days && cp given days/one", "deps": ["given"],
        "outs": [{"days": {"persist": True}}],
    },
}  # fmt: skip


def test_a_growing_stage_runs_before_the_stage_that_needs_it(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    place = home.var / "training" / "one"
    dvc_stages.init_dvc(home, place)
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    (place / "given").write_text("input")
    stages = dvc_stages.recipe_stages(place)
    assert list(stages.items()) == [("make", ["grow"]), ("last", [])]
    for ran in (True, False):
        for name, before in stages.items():
            assert dvc_stages.run_stage(home, place, name, before)["ran"] is ran
    assert (place / "judged").read_text() == "input"
    assert set(yaml.safe_load((place / "dvc.lock").read_text())["stages"]) == {*STAGES}
    assert (place / "dvc.log").read_text().count("$ dvc ") == 4
