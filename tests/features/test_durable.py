"""Atomic writes, files of lines and locks: what a kill, a full disk or a second process leaves."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features import durable
from settings import LoopError, UserError


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "made" / "state.json"
    durable.write_json(target, {"a": 1})
    durable.write_json(target, {"a": 2})
    assert target.read_text() == '{\n  "a": 2\n}'
    assert os.listdir(target.parent) == ["state.json"]
    durable.write(target, "secret", mode=0o600)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_writer_that_fails_leaves_the_last_good_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    durable.write(target, "good")

    def fail() -> None:
        with durable.replacing(target) as unfinished:
            unfinished.write_text("ha")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "good"
    assert os.listdir(tmp_path) == ["state"]


def test_a_writer_that_is_killed_leaves_the_last_good_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    durable.write(target, "good")
    killed = (
        "import os, sys; from pathlib import Path; from features import durable\n"
        "with durable.replacing(Path(sys.argv[1])) as unfinished:\n"
        "    unfinished.write_text('ha'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "good"


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "state"
    texts = [letter * 200_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda text: durable.write(target, text), texts))
            assert target.read_text() in texts


def test_an_incomplete_last_line_counts_as_not_made(tmp_path: Path) -> None:
    target = tmp_path / "lines.jsonl"
    assert durable.read_lines(target) == []
    assert durable.append_unless(target, "one", lambda lines: b"one" in lines)
    assert not durable.append_unless(target, "one", lambda lines: b"one" in lines)
    with target.open("ab") as file:
        file.write(b"tw")
    assert durable.read_lines(target) == [b"one"]
    assert durable.append_unless(target, "two", lambda lines: b"two" in lines)
    assert target.read_bytes() == b"one\ntwo\n"


def test_a_lock_is_refused_by_name_of_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not durable.is_locked(path)
    with durable.locked(path):
        assert durable.is_locked(path)
        with (
            pytest.raises(UserError, match=rf"Another turn .* pid {os.getpid()}, since 20"),
            durable.locked(path, 0.0, refused=UserError, what="Another turn"),
        ):
            pass
    assert not durable.is_locked(path)
    with durable.locked(path, 0.0):
        pass


def test_a_lock_is_waited_for_and_the_user_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "SILENT", 0.2)
    path = tmp_path / "lock"
    with ThreadPoolExecutor(1) as pool:

        def hold() -> None:
            with durable.locked(path):
                time.sleep(0.8)

        held = pool.submit(hold)
        while not durable.is_locked(path):
            time.sleep(0.01)
        with durable.locked(path, 30.0):
            assert held.done() or held.result(1.0) is None
    assert f"Waiting for pid {os.getpid()}" in capsys.readouterr().err


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    killed = (
        "import os, sys; from pathlib import Path; from features import durable\n"
        "with durable.locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    assert path.read_text()  # its text stays, and means nothing
    assert not durable.is_locked(path)
    with durable.locked(path, 0.0, refused=LoopError):
        pass
