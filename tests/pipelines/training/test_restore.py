"""Recorded data are restored as they were recorded, or not at all."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.training import dvc_stages
from settings import Settings, UserError

STAGE = {"cmd": "mkdir made && echo one > made/a && echo two > made/b", "outs": ["made"]}


def test_data_that_were_damaged_in_the_remote_are_not_restored(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    place = home.state / "training" / "one"
    dvc_stages.init_dvc(home, place)
    (place / "dvc.yaml").write_text(json.dumps({"stages": {"make": STAGE}}))
    dvc_stages.run_stage(home, place, "make")
    md5 = dvc_stages.push_outputs(home, place)["made"]
    shutil.rmtree(home.var / "dvc" / "cache")  # as on another machine
    stored = [path for path in (home.var / "dvc" / "remote").rglob("*") if path.is_file()]
    damaged = next(path for path in stored if path.read_bytes() == b"two\n")
    damaged.chmod(0o600)
    damaged.write_bytes(b"TWO\n")
    with pytest.raises(
        UserError, match=f"No data with the md5 {md5} in the DVC remote, or damaged"
    ):
        dvc_stages.restore_output(home, md5, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    damaged.write_bytes(b"two\n")
    dvc_stages.restore_output(home, md5, tmp_path / "restored")
    assert (tmp_path / "restored" / "b").read_text() == "two\n"
