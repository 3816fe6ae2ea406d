"""Each stable code has a row in the table, and the row's remedy mends the state of the code.

A state is produced in a home, the remedy is run as written, and the state is gone. Words in
capitals are filled in. `NOT_PRODUCED` lists the other codes, with the reason.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from typer.main import get_command

from features import locks, partitions
from monitoring import retraining_decision
from monitoring.retraining_triggers import TRIGGERS
from pipelines.cli.main import app
from pipelines.operations import doctor, home_checks, loop_metrics
from pipelines.release import promotion, rollback, rollout_policy
from pipelines.release.audit import recorder
from pipelines.runtime import clock
from pipelines.training import mlflow_tracking
from serving import remedies
from serving.errors import TOO_MANY
from serving.models.holder import ModelHolder
from serving.release import signatures
from settings import LoopError, Settings
from tests.released import served_release
from tests.remedied import mlops, run_remedy
from tests.use_case import USE_CASE, change_params

# By reason: the remedies that no test runs.
NOT_PRODUCED = {
    "It is a training: tests/pipelines/flows/test_turn.py": """
        digest_lost nothing_released calibration_gap drift_share new_labels schedule_due
        slice_miscalibrated target_drift cost deleted errors scores slow time prediction_drift
        retraining_failed""",
    "It acts on a part of the stack: tests/stack/test_prometheus_alerts.py": """
        alert_events_waiting alerts_not_delivered api_down availability_level error_rate
        fallback_answers feature_age_level flow_failed internal_error latency_high latency_level
        log_not_synced log_not_written mlflow_unreachable part_down predictions_not_logged
        replica_missing retraining_overdue server_down store_unreachable target_down unavailable
        watch_failing worker_away record_unusable""",
    "It needs days of traffic of a kind: tests/pipelines/retraining/test_monitor.py": """
        cost_above_expected feature_unmeasured labels_late labels_missing rows_quarantined
        saving_gone slice_implausible under_way values_missing""",
    "It shows what to decide and changes nothing": "record_broken version_unknown",
    "It installs packages": "code_elsewhere packages_differ python_unsupported state_newer",
    "It needs two models on the service's columns": "not_explained features_not_provided",
}
# Codes that single tests produce: those below, of test_service_remedies.py, and of other rooms.
PRODUCED = {
    "check_not_run", "coverage_low", "labels_few", "monitoring_stale",  # test_monitor.py
    "experiment_under_way",  # test_experiment.py
    "batch_refused", "body_too_large", "data_stale", "disk_full", "foreign_host",
    "head_too_large", "malformed_http", "request_too_slow", "features_lost",
    "features_stale", "home_moved", "invalid_request", "locked", "no_model_yet", "not_allowed",
    "not_ready", "overloaded", "path_unusable", "port_taken", "proxy_catches_loopback",
    "recipe_missing", "store_damaged", "superseded", "token_missing_or_wrong",
    "too_many_requests", "unknown_path", "unknown_prediction", "version_deleted",
    "wrong_content_type", "wrong_method", "disk_nearly_full",
}  # fmt: skip
ROOT = Path(__file__).parents[3]
PACKAGES = ("pipelines", "monitoring", "serving", "features")
ME = {"by": "me", "why": "it is right"}
HOLD = (
    "import sys, time; from pathlib import Path; from features import locks\n"
    "with locks.hold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)
LISTEN = (
    "import socket, time; server = socket.create_server(('127.0.0.1', 0));"
    "print(server.getsockname()[1], flush=True); time.sleep(60)"
)
CHECK_PROXY = (
    "from pipelines.operations.home_checks import check_proxy; from settings import load_settings;"
    "print(check_proxy(load_settings()).code)"
)


def codes_in_the_code() -> set[str]:
    """Return every code that the packages speak: in calls, classes, dicts, findings, refusals."""
    found: set[str] = set()
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    for file in (*modules, ROOT / "settings.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                found |= set(_codes_of_call(node))
            elif isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [
                "code"
            ]:
                found |= _texts(node.value)
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found |= {
                    t for key, value in pairs if _texts(key) == {"code"} for t in _texts(value)
                }
            elif isinstance(node, ast.arg) and node.arg == "codes":
                found.add("by_hand")
    rules = yaml.safe_load((ROOT / "monitoring" / "stack" / "rules.yml").read_text())
    alerts = [
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    ]
    return {
        *found, *map(remedies.code_of, [*alerts, *TOO_MANY]), *rollout_policy.CODES,
        *retraining_decision.HOLD_CODES, retraining_decision.QUIET_CODE,
        *(each.code for each in TRIGGERS.values()),
    } - {"", "reason"}  # fmt: skip


def _codes_of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func).rpartition(".")[2]
    place = {
        "MonitoringFinding": 0, "note": 0, "part_unavailable": 0, "Refusal": 1, "CheckResult": 2,
        "RolloutDecision": 2, "_all_of": 2,
    }.get(name)  # fmt: skip
    if place is not None and len(node.args) > place:
        yield from map(remedies.code_of, _texts(node.args[place]))
    for keyword in node.keywords:
        if keyword.arg in {"code", "codes"}:
            yield from _texts(keyword.value)


def _texts(node: ast.AST | None) -> set[str]:
    """Return the text of a constant, or all of a conditional expression or an `or`."""
    if isinstance(node, ast.IfExp):
        return _texts(node.body) | _texts(node.orelse)
    if isinstance(node, ast.BoolOp):
        return {text for value in node.values for text in _texts(value)}
    value = node.value if isinstance(node, ast.Constant) else None
    return {value} if isinstance(value, str) else set()


def test_the_table_has_a_row_for_each_code_and_no_other() -> None:
    assert set(remedies.REMEDIES) == codes_in_the_code()


def test_each_remedy_is_tested_or_has_a_reason() -> None:
    with_remedy = {code for code, each in remedies.REMEDIES.items() if each.command}
    produced, other = {*STATES, *PLACES, *PRODUCED}, " ".join(NOT_PRODUCED.values()).split()
    assert sorted([*produced, *other]) == sorted(with_remedy)


def test_a_remedy_is_a_command_that_exists() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for code, (message, command) in remedies.REMEDIES.items():
        assert message[0].isupper(), code
        assert not message.endswith("."), code
        for part in filter(None, command.split(" && ")):
            words = [each for each in shlex.split(part) if "=" not in each]
            if words[0] == "mlops":
                _parse_command(words[1:])
            elif words[:3] == ["docker", "compose", "up"] and "--scale" not in words:
                assert words[-1] in {*services, "PART"}, code


def _parse_command(words: list[str]) -> None:
    """Raise click's `UsageError` if the commands or options do not exist."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    numeric = ["1" if each in {"N"} else each for each in words]
    command.make_context(command.name, numeric, resilient_parsing=False)


@pytest.fixture
def home(released: Settings, a_free_port: Callable[[], int]) -> Iterator[Settings]:
    ports = {f"MLOPS_{name}_PORT": str(a_free_port()) for name in ("PREFECT", "SERVICE")}
    with patch.dict(os.environ, {"MLOPS_HOME": str(released.home), **ports}):
        yield released


def client(settings: Settings) -> Any:
    return mlflow_tracking.mlflow_client(settings)


def write_document(settings: Settings, text: str) -> None:
    client(settings).set_registered_model_tag(USE_CASE.name, "release", text)


def take_back(settings: Settings) -> None:
    promotion.promote(settings, "2", **ME)
    rollback.rollback(settings, **ME)


def require_approvals(settings: Settings) -> None:
    change_params(settings, "release", policy="manual")


def set_document_back(settings: Settings) -> None:
    before = client(settings).get_registered_model(USE_CASE.name).tags["release"]
    promotion.promote(settings, "2", **ME)
    write_document(settings, before)


def change_document(settings: Settings) -> None:
    """As a person who has the key, or in a home that has none yet."""
    tag = client(settings).get_registered_model(USE_CASE.name).tags["release"]
    fields = json.loads(tag.replace('"threshold": 0.2', '"threshold": 0.9'))
    del fields["signature"]
    write_document(settings, signatures.sign_json(settings, "release", fields))


def edit_file(settings: Settings) -> None:
    text = settings.release_file.read_text()
    settings.release_file.write_text(text.replace('"threshold": 0.2', '"threshold": 0.9'))


def remove_list(settings: Settings) -> None:
    run = client(settings).get_model_version(USE_CASE.name, "2").run_id
    [file] = settings.var.rglob(f"{run}/artifacts/files.json")
    file.unlink()


def keep_older_files(settings: Settings) -> None:
    mlops("stage", "3")
    (settings.state / "models" / "3").rename(settings.state / "models" / "2")


def lose_champion(settings: Settings) -> None:
    """Version 3 follows 2 and 1; 2 is lost with its files, so that a rollback must name 1."""
    for version in ("2", "3"):
        promotion.promote(settings, version, **ME)
    client(settings).delete_model_version(USE_CASE.name, "2")
    shutil.rmtree(settings.state / "models" / "2")


def damage_registry(settings: Settings) -> None:
    """The files of version 2 are damaged here and in the registry, after 1 was champion."""
    promotion.promote(settings, "2", **ME)
    run = client(settings).get_model_version(USE_CASE.name, "2").run_id
    for file in settings.var.rglob(f"{run}/artifacts/served/model.treelite"):
        file.write_bytes(b"")
    (settings.state / "models" / "2" / "served" / "model.treelite").write_bytes(b"")


def failed_check(check: Callable[[Settings], doctor.CheckResult]) -> Callable[[Settings], str]:
    """Return a function that gives the code of `check`, empty if it passes."""

    def code(settings: Settings) -> str:
        try:
            result = check(settings)
        except LoopError as error:
            return error.code
        return "" if result.ok else result.code

    return code


def says(*command: str) -> Callable[[Settings], str]:
    """Return a function that gives the code which the command prints, empty if it prints none."""

    def code(_: Settings) -> str:
        found = re.search(r"error \[(\w+)\]", mlops(*command))
        return found[1] if found else ""

    return code


def readyz(settings: Settings) -> str:
    """The code in the `problem` of `/readyz`, which is that of the holder."""
    found = re.search(r"\[(\w+)\]", ModelHolder(settings).problem or "")
    return found[1] if found else ""


Produce = Callable[[Settings], object]
STATES: dict[str, tuple[Produce, Callable[[Settings], str], dict[str, str]]] = {
    "barred": (take_back, says("promote", "2"), {"VERSION": "2"}),
    "frozen": (lambda s: rollback.freeze(s, **ME), says("promote", "2"), {}),
    "not_approved": (require_approvals, says("promote", "2"), {"VERSION": "2"}),
    "document_malformed": (lambda s: write_document(s, "{"), says("promote", "2"), {}),
    "document_lost": (
        lambda s: client(s).delete_registered_model_tag(USE_CASE.name, "release"),
        says("history"), {},
    ),
    "document_behind": (set_document_back, says("promote", "3"), {}),
    "document_contradicted": (change_document, says("promote", "3"), {}),
    "not_signed": (edit_file, readyz, {}),
    "signing_key_lost": (lambda s: s.signing_key_file.unlink(), says("promote", "2"), {}),
    "version_not_signed": (remove_list, says("promote", "2"), {"VERSION": "2"}),
    "release_file_malformed": (lambda s: s.release_file.write_text("{"), readyz, {}),
    "release_file_lost": (
        lambda s: s.release_file.unlink(), failed_check(doctor.check_record), {}
    ),
    "model_damaged": (
        lambda s: shutil.rmtree(s.state / "models" / "1" / "served"),
        lambda s: readyz(s) or failed_check(doctor.check_models)(s), {},
    ),
    "model_folder_taken": (keep_older_files, says("promote", "2"), {"VERSION": "2"}),
    "served_version_deleted": (
        lambda s: (
            promotion.promote(s, "2", **ME), client(s).delete_model_version(USE_CASE.name, "2"),
        ),
        failed_check(doctor.check_registry), {},
    ),
    "staging_file_malformed": (
        lambda s: s.staging_file.write_text("{"), says("promote"), {"VERSION": "2"}
    ),
    # Alerts on a replica, whose holder is that of this process.
    "no_model_served": (
        lambda s: shutil.rmtree(s.state / "models" / "1" / "served"),
        lambda s: "" if ModelHolder(s).current else "no_model_served", {},
    ),
    "release_not_taken_up": (
        lambda s: s.release_file.write_text("{"),
        lambda s: "release_not_taken_up" if ModelHolder(s).problem else "", {},
    ),
    "registry_files_damaged": (damage_registry, lambda s: readyz(s) and says("repair")(s), {}),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(STATES))
def test_the_remedy_mends_the_state_of_a_release(code: str, home: Settings) -> None:
    produce, spoken, words = STATES[code]
    produce(home)
    assert spoken(home) == code
    run_remedy(code, home.home, **words)
    assert spoken(home) == ""
    assert readyz(home) == ""


def test_a_deleted_version_without_files_is_left_for_another(home: Settings) -> None:
    lose_champion(home)
    with pytest.raises(LoopError) as raised:
        rollback.rollback(home, **ME)
    assert raised.value.code == "version_deleted"
    run_remedy("version_deleted", home.home, VERSION="1")
    assert served_release(home).champion.version == "1"


def test_a_superseded_decision_is_made_again(home: Settings) -> None:
    promotion.promote(home, "2", **ME)
    with pytest.raises(recorder.SupersededError) as raised:
        promotion.promote(home, "3", generation=1, **ME)
    run_remedy(raised.value.code, home.home)
    assert promotion.promote(home, "3", **ME)["version"] == "3"


@contextmanager
def child(script: str, *arguments: str) -> Iterator[tuple[int, str]]:
    """Yield the pid of a process that runs `script`, and its first line."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_held_lock_and_a_taken_port_name_the_process_to_end(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child(HOLD, str(home.state / "run.lock")) as (pid, _):
        output = mlops("ui")
        assert f"pid {pid}" in output
        assert "error [locked]" in output
        run_remedy("locked", home.home, PID=pid)
        lock = home.state / "run.lock"
        deadline = time.monotonic() + 20
        while locks.is_locked(lock) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not locks.is_locked(lock)
    with child(LISTEN) as (pid, port):
        monkeypatch.setenv("MLOPS_SERVICE_PORT", port)
        assert f"pid {pid}" in mlops("serve")
        ports = failed_check(doctor.check_ports)
        assert ports(Settings()) == "port_taken"
        run_remedy("port_taken", home.home, PID=pid)
        deadline = time.monotonic() + 20
        while ports(Settings()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ports(Settings()) == ""


def put(settings: Settings, name: str, text: str) -> dict[str, object]:
    file = settings.home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return {"FILE": file}


def dangle(settings: Settings) -> dict[str, object]:
    folder = settings.home.parent / "a disk" / "data"
    settings.data.parent.mkdir()
    settings.data.symlink_to(folder)
    return {"FOLDER": folder}


def give_away(settings: Settings) -> dict[str, object]:
    os.chown(settings.state / "models", 54321, -1)
    return {"USER": os.geteuid(), "FOLDER": settings.var}


def commit(settings: Settings) -> None:
    for command in ("init -q", "add usecases", "-c user.name=me -c user.email=me commit -qm x"):
        subprocess.run(["git", *command.split()], cwd=settings.home, check=True)


def edit_parameters(settings: Settings) -> dict[str, object]:
    commit(settings)
    settings.params_file.write_text("as_of: [")
    return {"FILE": settings.params_file}


PLACES: dict[str, tuple[Callable[[Settings], dict[str, object]], Callable[..., Any]]] = {
    "file_damaged": (
        lambda s: put(s, f"var/usecases/{USE_CASE.name}/monitoring/x.json", "{"),
        home_checks.check_files,
    ),
    "lock_left": (
        lambda s: put(s, ".dvc/tmp/rwlock", '{"dvc.yaml": {"write": {"pid": 999999999'),
        home_checks.check_files,
    ),
    "disk_missing": (dangle, home_checks.check_disk),
    "owner_other": (give_away, home_checks.check_owner),
    "parameters_malformed": (edit_parameters, doctor.check_parameters),
    "state_older": (
        lambda s: (s.var / "format.json").unlink() or {}, home_checks.check_state
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(PLACES))
def test_the_remedy_mends_the_state_of_a_home(code: str, home: Settings) -> None:
    if code == "owner_other" and os.geteuid() != 0:
        pytest.skip("only root may give files to another user")
    produce, check = PLACES[code]
    mlops("status")  # writes the format
    assert failed_check(check)(home) == ""
    words = produce(home)
    assert failed_check(check)(home) == code
    run_remedy(code, home.home, **words)
    assert failed_check(check)(home) == ""


def test_a_part_that_is_down_is_named(
    home: Settings, monkeypatch: pytest.MonkeyPatch, a_free_port: Callable[[], int]
) -> None:
    closed = f"127.0.0.1:{a_free_port()}"
    store = Settings(home=home.home, redis=closed)
    assert failed_check(home_checks.check_store)(store) == "store_unreachable"
    monkeypatch.setenv("MLOPS_TRACKING_URI", f"http://{closed}")
    assert says("history")(home) == "mlflow_unreachable"
    assert "[server_down]" in mlops("doctor")


@pytest.mark.parametrize("name", ["monitoring/x.json", "training/x/outcome.json"])
def test_status_names_a_damaged_file(name: str, home: Settings) -> None:
    file = put(home, f"var/usecases/{USE_CASE.name}/{name}", "{")["FILE"]
    assert says("status")(home) == "file_damaged"
    run_remedy("file_damaged", home.home, FILE=file)
    assert says("status")(home) == ""


def test_status_without_the_release_file_names_the_remedy(home: Settings) -> None:
    home.release_file.unlink()
    assert "Run `mlops repair`" in mlops("status")
    run_remedy("release_file_lost", home.home)
    assert "version 1" in mlops("status")


def test_a_full_disk_is_cleaned(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    report = home.state / "reports" / "drift-2013-01-01.html"
    report.parent.mkdir(parents=True)
    report.touch()
    os.utime(report, (0, 0))
    usage = lambda _: SimpleNamespace(free=1e9 if report.exists() else 9e9)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    full = failed_check(home_checks.check_disk)
    assert full(home) == "disk_full"
    run_remedy("disk_full", home.home)
    assert full(home) == ""


def test_a_moved_home_is_found_and_followed(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Settings(home=home.home.rename(home.home.parent / "moved"))
    monkeypatch.setenv("MLOPS_HOME", str(moved.home))
    assert home_checks.check_checkout(moved).code == "home_moved"
    assert "[home_moved]" in mlops("doctor")  # which does not mend it
    assert home_checks.check_checkout(moved).code == "home_moved"
    run_remedy("home_moved", moved.home)
    assert home_checks.check_checkout(moved).ok


def test_a_long_path_is_found(home: Settings) -> None:
    deep = home.home.parent.joinpath(*["x" * 200] * 2, "home")
    deep.parent.mkdir(parents=True)
    long = Settings(home=home.home.rename(deep))
    assert failed_check(home_checks.check_path)(long) == "path_unusable"
    run_remedy("path_unusable", deep.parent, FOLDER=deep, SHORTER=home.home)
    assert home_checks.check_path(Settings(home=home.home)).ok


def test_a_proxy_that_gets_requests_to_this_machine_is_found() -> None:
    given = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    check = f"{sys.executable} -c {shlex.quote(CHECK_PROXY)}"

    def code(before: str) -> str:
        return subprocess.run(
            ["bash", "-c", f"{before}; {check}"], cwd=ROOT, text=True, capture_output=True,
            env={**given, "PYTHONPATH": str(ROOT), "HTTP_PROXY": "http://10.0.0.1:3128"},
            check=True,
        ).stdout.strip()  # fmt: skip

    assert code("true") == "proxy_catches_loopback"
    assert code(remedies.remedy_command("proxy_catches_loopback")) == ""


def test_code_of_another_checkout_and_a_newer_state_are_found(home: Settings) -> None:
    put(home, "var/format.json", '{"format": 99}')
    assert failed_check(home_checks.check_state)(home) == "state_newer"
    put(home, "pipelines/__init__.py", "")
    assert home_checks.check_checkout(home).code == "code_elsewhere"


def test_another_disk_is_named(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Path("/dev/shm")  # noqa: S108
    if not memory.exists() or memory.stat().st_dev == home.home.stat().st_dev:
        pytest.skip("no other disk")
    home.data.parent.mkdir()
    home.data.symlink_to(memory)
    result = home_checks.check_disk(home)
    assert result.ok
    assert f"{home.data} is on another disk" in result.message


def test_a_link_of_all_data_that_leads_nowhere_is_named(home: Settings) -> None:
    home.data.parent.symlink_to(home.home.parent / "a disk")
    assert failed_check(home_checks.check_disk)(home) == "disk_missing"


def test_a_deleted_recipe_is_restored(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home, "dvc.yaml", "stages: {}")
    put(home, ".dvc/config", "[core]")
    subprocess.run(["git", "init", "-q"], cwd=home.home, check=True)
    subprocess.run(["git", "add", "dvc.yaml", ".dvc"], cwd=home.home, check=True)
    monkeypatch.setattr(doctor, "SOURCE_ROOT", home.home)
    assert doctor.check_recipe(home).ok
    (home.home / "dvc.yaml").unlink()
    assert doctor.check_recipe(home).code == "recipe_missing"
    run_remedy("recipe_missing", home.home)
    assert doctor.check_recipe(home).ok


@pytest.mark.long
def test_missing_batches_and_a_lost_store_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_home: Callable[..., Any]
) -> None:
    settings: Settings = make_home(tmp_path / "home").settings
    as_of = datetime(2013, 1, 3, tzinfo=UTC)
    text = yaml.safe_dump(settings.params() | {"as_of": as_of.isoformat()})
    settings.params_file.write_text(text)
    monkeypatch.setenv("MLOPS_HOME", str(settings.home))
    monkeypatch.chdir(settings.home)
    settings.apply_environment()
    clock.advance_to(settings, as_of)
    samples = loop_metrics.batch_samples

    def missing() -> float:
        return sum(each.value or 0 for each in samples(settings) if each.name == "batches_missing")

    assert missing()
    run_remedy("data_stale", settings.home)
    assert not missing()
    refused = settings.data / "quarantine" / "refused"
    [feed, *_] = USE_CASE.feeds
    day = next(iter(partitions.partition_days(settings.data, "validated", feed)))
    good = partitions.partition_path(settings.data, "validated", feed, day)
    raw = partitions.partition_path(settings.data, "raw", feed, day)
    good.unlink()
    (refused / feed).mkdir(parents=True)
    raw.rename(refused / feed / raw.name)
    data = failed_check(doctor.check_data)
    assert data(settings) == "batch_refused"
    run_remedy("batch_refused", settings.home)
    assert data(settings) == ""
    assert good.exists()

    store = failed_check(home_checks.check_store)
    mlops("features")
    assert store(settings) == ""
    settings.online_file.unlink()
    assert store(settings) == "features_lost"
    run_remedy("features_lost", settings.home)
    assert store(settings) == ""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{settings.online_file}{suffix}").write_bytes(b"damaged" * 1000)
    assert store(settings) == "store_damaged"
    run_remedy("store_damaged", settings.home)
    assert store(settings) == ""


def test_doctor_lists_what_to_do_in_order(home: Settings) -> None:
    mlops("status")
    promotion.promote(home, "2", **ME)
    client(home).delete_model_version(USE_CASE.name, "2")
    file = put(home, f"var/usecases/{USE_CASE.name}/monitoring/x.json", "{")["FILE"]
    shutil.rmtree(home.state / "models" / "2" / "served")
    put(home, f"data/{USE_CASE.name}/features/table/2013-01-01.parquet", "")
    output = mlops("doctor")
    for code in ("file_damaged", "model_damaged", "served_version_deleted", "features_lost"):
        assert f"[{code}]" in output
    steps = [line.partition(". ")[2] for line in output.partition("To do")[2].splitlines()[1:]]
    assert steps[-4:] == [
        "rm FILE",
        "mlops repair",
        "mlops rollback --reason TEXT",
        "mlops features",
    ]
    assert str(file) in output


def test_a_bare_word_of_the_service_is_a_code() -> None:
    assert remedies.code_of("not ready") == "not_ready"
    assert remedies.code_of("PartDown") == "part_down"
