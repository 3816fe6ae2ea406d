"""Child processes, with real processes: start, check, end, and end after a kill -9."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from pipelines.runtime import child_processes, server_health
from settings import LoopError, Settings

# A parent with a child; it prints both pids and sleeps.
FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], {more})
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
# A run that starts two children, prints "started" and waits for its kill.
RUN = """
import sys, time
from pathlib import Path
from pipelines.runtime import child_processes
from settings import Settings
settings = Settings(home=Path(sys.argv[1]))
for name in ("one", "two"):
    child_processes.start_child(settings, name, [sys.executable, "-c", sys.argv[2]], {})
print("started", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path)
    yield settings
    child_processes.stop_children(settings)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_until(true: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def family_of(child_log: Path) -> list[psutil.Process]:
    wait_until(lambda: child_log.exists() and child_log.read_text().endswith("\n"))
    return [psutil.Process(int(pid)) for pid in child_log.read_text().split()]


def alive(processes: list[psutil.Process]) -> list[int]:
    living = [each for each in processes if each.is_running()]
    return [each.pid for each in living if each.status() != psutil.STATUS_ZOMBIE]


def test_output_and_environment_reach_the_log(settings: Settings) -> None:
    code = "import os, sys; print(os.environ['MLOPS_HOME']); sys.stderr.write(os.environ['WORD'])"
    child = child_processes.start_child(settings, "teller", python(code), {"WORD": "said"})
    child.process.wait(20)
    assert child.log == settings.state / "logs" / "teller.log"
    assert child.log.read_text() == f"{settings.home}\nsaid"


def test_a_child_is_on_record_in_a_session_of_its_own(settings: Settings) -> None:
    child = child_processes.start_child(
        settings, "sleeper", python("import time; time.sleep(60)"), {}
    )
    (record,) = json.loads((settings.state / "children.json").read_text())
    assert (record["name"], record["pid"]) == ("sleeper", child.pid)
    assert record["created"] == pytest.approx(psutil.Process(child.pid).create_time())
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_a_missing_command_is_reported_and_not_recorded(settings: Settings) -> None:
    with pytest.raises(LoopError, match=r"ghost can't be started.*no-such-command"):
        child_processes.start_child(settings, "ghost", ["no-such-command"], {})
    assert json.loads((settings.state / "children.json").read_text()) == []


def test_healthy_once_it_answers_with_success(settings: Settings) -> None:
    class Warming(BaseHTTPRequestHandler):
        answers = iter([503, 503, 200])

        def do_GET(self) -> None:
            self.send_response(next(self.answers))
            self.end_headers()

        def log_message(self, *given: object) -> None:
            """Quiet."""

    child = child_processes.start_child(
        settings, "server", python("import time; time.sleep(60)"), {}
    )
    with HTTPServer(("127.0.0.1", 0), Warming) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        server_health.wait_until_healthy(
            child, f"http://127.0.0.1:{server.server_port}/", timeout=20
        )
        server.shutdown()
    assert next(Warming.answers, None) is None


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(settings: Settings) -> None:
    code = "for i in range(100): print('line', i)\nraise SystemExit(3)"
    child = child_processes.start_child(settings, "weak", python(code), {})
    with pytest.raises(LoopError, match="weak stopped with exit code 3") as error:
        server_health.wait_until_healthy(child, "http://127.0.0.1:9/", timeout=20)
    assert str(child.log) in str(error.value)
    assert "line 99" in str(error.value)
    assert "line 79" not in str(error.value)


def test_a_child_that_does_not_answer_in_time_is_reported(settings: Settings) -> None:
    child = child_processes.start_child(settings, "mute", python("import time; time.sleep(60)"), {})
    with pytest.raises(LoopError, match=r"mute did not answer at \S+ within 0 s"):
        server_health.wait_until_healthy(child, "http://127.0.0.1:9/", timeout=0.3)


def test_stop_all_ends_the_whole_tree(settings: Settings) -> None:
    child = child_processes.start_child(settings, "family", python(FAMILY.format(more="")), {})
    family = family_of(child.log)
    assert len(alive(family)) == 2
    child_processes.stop_children(settings)
    assert alive(family) == []
    assert child.process.returncode == -signal.SIGTERM


def test_what_ignores_sigterm_is_killed_after_the_grace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_processes, "GRACE_SECONDS", 0.5)
    child = child_processes.start_child(settings, "stubborn", python(STUBBORN), {})
    wait_until(lambda: "ready" in child.log.read_text())
    child_processes.stop_children(settings)
    assert child.process.returncode == -signal.SIGKILL


def test_the_last_started_is_ended_first(settings: Settings) -> None:
    for name in ("server", "client"):
        child_processes.start_child(settings, name, python("import time; time.sleep(60)"), {})
    assert child_processes.stop_children(settings) == ["client", "server"]
    assert child_processes.stop_children(settings) == []


def test_children_of_a_run_killed_with_9_are_cleared_by_the_next(settings: Settings) -> None:
    code = FAMILY.format(more="start_new_session=True")
    run = subprocess.Popen([*python(RUN), str(settings.home), code], stdout=subprocess.PIPE)
    assert run.stdout is not None
    with run.stdout as output:
        assert output.readline() == b"started\n"
        families = [family_of(settings.state / "logs" / f"{name}.log") for name in ("one", "two")]
        run.kill()
        run.wait(20)
    # Of one family only the grandchild remains: an orphan in its own session.
    families[0][0].kill()
    wait_until(lambda: alive(families[0]) == [families[0][1].pid])
    assert len(alive(families[1])) == 2
    assert sorted(child_processes.stop_children(settings)) == ["one", "two"]
    assert alive(families[0] + families[1]) == []
    assert child_processes.stop_children(settings) == []


def test_a_recycled_pid_is_left_alone(settings: Settings) -> None:
    stranger = subprocess.Popen(python("import time; time.sleep(60)"))
    try:
        child = child_processes.start_child(settings, "brief", python(""), {})
        child.process.wait(20)
        path = settings.state / "children.json"
        (record,) = json.loads(path.read_text())
        long_ago = {"pid": stranger.pid, "created": record["created"] - 60}
        path.write_text(json.dumps([{**record, **long_ago}]))
        assert child_processes.stop_children(settings) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(20)


def test_a_child_killed_between_its_start_and_its_record_is_found_by_its_mark(
    settings: Settings,
) -> None:
    child = child_processes.start_child(
        settings, "unrecorded", python("import time; time.sleep(60)"), {}
    )
    path = settings.state / "children.json"
    (record,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**record, "pid": None, "created": None}]))
    assert child_processes.stop_children(settings) == ["unrecorded"]
    assert child.process.returncode == -signal.SIGTERM


def test_a_child_has_a_temporary_folder_of_its_own(settings: Settings) -> None:
    code = "import tempfile; print(tempfile.gettempdir())"
    for _ in range(2):
        child = child_processes.start_child(
            settings, "brief", python(code), {"TMPDIR": str(settings.home)}
        )
        child.process.wait()
        folder = Path(child.log.read_text().strip())
        assert folder == settings.state / "tmp" / "brief"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert os.listdir(folder) == []  # the files of the previous child are removed
        (folder / "runner_storage").mkdir()


def test_a_copied_home_ends_nothing_of_the_original(settings: Settings, tmp_path: Path) -> None:
    child = child_processes.start_child(settings, "one", python("import time; time.sleep(60)"), {})
    copy = Settings(home=tmp_path / "copy")
    copy.state.mkdir(parents=True)
    (copy.state / "children.json").write_bytes((settings.state / "children.json").read_bytes())
    assert child_processes.stop_children(copy) == []
    server_health.require_alive(child)
