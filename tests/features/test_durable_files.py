"""Atomic writes, files of lines and locks survive a kill, a full disk or a second process."""

import ast
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features import durable_files, locks
from settings import LoopError, UserError


def test_a_file_is_replaced_atomically_without_leftovers(tmp_path: Path) -> None:
    target = tmp_path / "made" / "state.json"
    durable_files.write_json(target, {"a": 1})
    durable_files.write_json(target, {"a": 2})
    assert target.read_text() == '{\n  "a": 2\n}'
    assert os.listdir(target.parent) == ["state.json"]
    durable_files.write_file(target, "secret", mode=0o600)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_the_content_is_synced_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real = tmp_path / "state", os.fsync
    synced: list[tuple[bool, bool]] = []  # (is a folder, target exists)

    def fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((folder, target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    durable_files.write_file(target, "good")
    assert synced == [(False, False), (True, True)]


def test_a_writer_that_fails_leaves_the_last_good_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    durable_files.write_file(target, "good")

    def fail() -> None:
        with durable_files.atomic_replace(target) as unfinished:
            unfinished.write_text("ha")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "good"
    assert os.listdir(tmp_path) == ["state"]


def test_a_writer_that_is_killed_leaves_the_last_good_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    durable_files.write_file(target, "good")
    killed = (
        "import os, sys; from pathlib import Path; from features import durable_files\n"
        "with durable_files.atomic_replace(Path(sys.argv[1])) as unfinished:\n"
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
            list(pool.map(lambda text: durable_files.write_file(target, text), texts))
            assert target.read_text() in texts


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    target = tmp_path / "lines.jsonl"
    assert durable_files.read_lines(target) == []
    assert durable_files.append_once(target, "one", numbered) is None
    assert durable_files.append_once(target, "one", numbered) == 3
    with target.open("ab") as file:
        file.write(b"tw")
    assert durable_files.read_lines(target) == [b"one"]
    assert durable_files.append_once(target, "two", numbered) is None
    assert target.read_bytes() == b"one\ntwo\n"


def numbered(line: bytes) -> tuple[str, int]:
    return line.decode().strip(), len(line.strip())


def test_a_line_that_another_process_appended_is_known(tmp_path: Path) -> None:
    target = tmp_path / "lines.jsonl"
    assert durable_files.append_once(target, "one", numbered) is None
    other = (
        "import sys; from pathlib import Path; from features import durable_files\n"
        "durable_files.append_once(Path(sys.argv[1]), 'three', lambda line: (line.decode(), 0))"
    )
    subprocess.run([sys.executable, "-c", other, str(target)], check=True)
    assert durable_files.append_once(target, "three", numbered) == 5
    target.write_bytes(b"a longer line of a backup\nfour\n")  # the same file, replaced in place
    assert durable_files.append_once(target, "four", numbered) == 4
    assert durable_files.append_once(target, "one", numbered) is None
    assert durable_files.read_lines(target)[1:] == [b"four", b"one"]


def test_each_line_is_read_once_however_many_there_are(tmp_path: Path) -> None:
    target, entries = tmp_path / "lines.jsonl", list[bytes]()
    target.write_text("".join(f"{n}\n" for n in range(1000)))

    def entry(line: bytes) -> tuple[str, int]:
        entries.append(line)
        return numbered(line)

    durable_files.append_once(target, "a", entry)
    assert len(entries) == 1001
    durable_files.append_once(target, "b", entry)
    assert len(entries) == 1002


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    target = tmp_path / "lines.jsonl"
    durable_files.append_once(target, "one", numbered)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, hard))  # as a disk with two bytes left
    try:
        with pytest.raises(OSError, match=r"space|large"):
            durable_files.append_once(target, "three", numbered)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == b"one\n"
    assert durable_files.append_once(target, "three", numbered) is None
    assert durable_files.read_lines(target) == [b"one", b"three"]


def test_a_refused_lock_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_locked(path)
    with locks.hold_lock(path):
        assert locks.is_locked(path)
        with (
            pytest.raises(UserError, match=rf"Another turn .* pid {os.getpid()}, since 20"),
            locks.hold_lock(path, 0.0, refused=UserError, what="Another turn"),
        ):
            pass
    assert not locks.is_locked(path)
    with locks.hold_lock(path, 0.0):
        pass


def test_waiting_for_a_lock_prints_its_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "SILENT", 0.2)
    path = tmp_path / "lock"
    with ThreadPoolExecutor(1) as pool:

        def hold() -> None:
            with locks.hold_lock(path):
                time.sleep(0.8)

        held = pool.submit(hold)
        while not locks.is_locked(path):
            time.sleep(0.01)
        with locks.hold_lock(path, 30.0):
            assert held.done() or held.result(1.0) is None
    assert f"Waiting for pid {os.getpid()}" in capsys.readouterr().err


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    killed = (
        "import os, sys; from pathlib import Path; from features import locks\n"
        "with locks.hold_lock(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    assert path.read_text()  # the text remains, without meaning
    assert not locks.is_locked(path)
    with locks.hold_lock(path, 0.0, refused=LoopError):
        pass


# The modules that may write, rename or lock without `features/durable_files.py`, and why.
ALLOWED = {
    "features/durable_files.py": "contains the mechanism",
    "features/locks.py": "the text of a lock, for messages only; the lock is on this very file",
    "features/feast_store.py": "renames an old registry, and syncs the folder",
    "features/partitions.py": "a table within `atomic_replace`",
    "serving/prediction_log/parquet_files.py": "a table within `atomic_replace`",
    "serving/prediction_log/segments.py": "lines, locked by the worker that writes them; measured",
    "serving/prediction_log/writer.py": "appends whole lines and syncs them in groups; measured",
    "pipelines/registry/refit.py": "a draft, renamed when complete",
    "pipelines/evaluation/evaluate.py": "outputs of a stage, which DVC rebuilds after a kill",
    "serving/http/client.py": "rows of answers, within `atomic_replace`",
    "pipelines/cli/reference.py": "docs/cli.md, which `make docs` rewrites",
    "pipelines/runtime/child_processes.py": "the log of a child process, which writes it itself",
    "pipelines/ingestion/expectation_suites.py": "pages for people, rewritten by every validation",
    "pipelines/runtime/embedded_databases.py": "a copy within `atomic_replace`",
    "pipelines/runtime/upgrade.py": "moves the state of an older version to its new place, once",
    "pipelines/training/dvc_stages.py": "DVC restores next to the target, then it is renamed",
    "pipelines/stack/docker_engine.py": "runs on the system's Python, without packages",
    "pipelines/stack/env.py": "runs on the system's Python, without packages",
    "pipelines/stack/backup_folder.py": "runs on the system's Python, without packages",
}
CODE = (
    "pipelines",
    "features",
    "serving",
    "monitoring",
    "usecases",
    "settings.py",
    "contract.py",
    "parameters.py",
)
WRITES = {
    "write_text", "write_bytes", "to_parquet", "to_csv", "to_pickle", "write_table",
    "rename", "renames", "link", "ftruncate",
}  # fmt: skip


def unsafe(tree: ast.Module) -> list[str]:
    """Return the calls of a module that may truncate, rename or lock a file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and "fcntl" in {each.name for each in node.names}:
            found.append(f"{node.lineno}: fcntl")
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        mode = {each.arg: each.value for each in node.keywords}.get("mode")
        texts += [mode.value] if isinstance(mode, ast.Constant) else []
        modes = {each for each in texts if isinstance(each, str) and set(each) <= set("rwxab+t")}
        of_module = getattr(getattr(node.func, "value", None), "id", "")
        of_a_frame = any(each.arg == "columns" for each in node.keywords) or bool(texts)
        method = isinstance(node.func, ast.Attribute)
        replaces = name == "replace" and method and (of_module == "os" or len(node.args) == 1)
        opened = name in {"open", "fdopen"} and any(set(each) & set("wx+") for each in modes)
        moved = name == "move" and of_module == "shutil"
        writes = name in WRITES and not (name == "rename" and of_a_frame)
        if writes or replaces or opened or moved:
            found.append(f"{node.lineno}: {name}")
    return found


def test_only_this_module_writes_files() -> None:
    root = Path(durable_files.__file__).parents[1]
    found = {}
    for place in CODE:
        paths = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        for path in paths:
            if calls := unsafe(ast.parse(path.read_text())):
                found[path.relative_to(root).as_posix()] = calls
    assert {name: calls for name, calls in found.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - set(found) == set(), "no reason needed any more"
