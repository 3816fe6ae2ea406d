"""The files of a served model: reproducible, and refused if they are changed or untrusted."""

import os
from pathlib import Path

import pytest
import skops.io
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from serving.models import served_form
from serving.models.evaluator import Evaluator, export_model
from settings import LoopError


@pytest.mark.parametrize("name", ["trees", "linear"])
def test_same_fit_gives_the_same_bytes(
    name: str, refit: dict[str, Pipeline], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = export_model(request.getfixturevalue(name), tmp_path / "first")
    second = export_model(refit[name], tmp_path / "second")
    assert first == second
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(files) == 2
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_another_fit_gives_another_digest(
    trees: Pipeline, linear: Pipeline, tmp_path: Path
) -> None:
    assert export_model(trees, tmp_path / "a") != export_model(linear, tmp_path / "b")


def test_export_removes_the_files_of_the_model_before(
    trees: Pipeline, linear: Pipeline, tmp_path: Path
) -> None:
    export_model(linear, tmp_path)
    digest = export_model(trees, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"evaluator.json", "model.treelite"}
    assert Evaluator.load(tmp_path, digest).trees is not None


@pytest.mark.parametrize("name", ["trees", "linear"])
def test_one_flipped_bit_is_refused(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    digest = export_model(request.getfixturevalue(name), tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[position] ^= 1
            path.write_bytes(changed)
            with pytest.raises(LoopError, match="digest"):
                Evaluator.load(tmp_path, digest)
        path.write_bytes(content)
    assert Evaluator.load(tmp_path, digest)


def test_missing_or_exchanged_files_are_refused(trees: Pipeline, tmp_path: Path) -> None:
    digest = export_model(trees, tmp_path)
    (tmp_path / "model.skops").write_bytes(b"one file more")
    with pytest.raises(LoopError, match="digest"):
        Evaluator.load(tmp_path, digest)
    with pytest.raises(LoopError, match="missing"):
        Evaluator.load(tmp_path / "nowhere", digest)


def test_untrusted_types_are_not_loaded(linear: Pipeline, tmp_path: Path) -> None:
    """Also with the right digest: the list of trusted types is ours, not the file's."""
    export_model(linear, tmp_path)
    hostile = skops.io.dumps(make_pipeline(FunctionTransformer(os.system)))
    form = (tmp_path / served_form.FORM_FILE).read_bytes()
    files = {served_form.FORM_FILE: form, served_form.PIPELINE_FILE: hostile}
    digest = served_form.write_model_files(tmp_path, files)
    with pytest.raises(LoopError, match="can't load"):
        Evaluator.load(tmp_path, digest)
