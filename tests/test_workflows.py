"""The CI workflows run commands that anyone can run, with minimal rights, time and trust."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# Neither a gate nor part of the project: a package of the runner, and the display of results.
AROUND = (
    "sudo apt-get update -qq && sudo apt-get install ",
    'cat var/report/report.md >> "$GITHUB_STEP_SUMMARY"',
    'docker compose --profile "*" logs ',
)


def read(name: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def jobs() -> Iterator[Any]:
    for file in FILES:
        for name, job in read(file.name)["jobs"].items():
            yield pytest.param(job, id=f"{file.stem}-{name}")


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job.get("steps", []) if "run" in step]


def wrong(job: dict[str, Any]) -> list[str]:
    """Return what is wrong with a job."""
    found = []
    rights = job.get("permissions")
    if not isinstance(rights, dict):
        return ["states no rights"]
    if "uses" in job:  # one of our workflows, which is checked by itself
        return [] if (ROOT / job["uses"]).exists() and "write" not in rights.values() else ["uses"]
    if not 0 < job.get("timeout-minutes", 0) <= 90:
        found.append("states no timeout")
    if "write" in rights.values():
        # A job with write access runs neither code nor packages of the project.
        steps = job["steps"]
        found += [step["uses"] for step in steps if "checkout" in step.get("uses", "")]
        return found + [run for run in runs(job) if "make " in run or "gh " not in run]
    for run in runs(job):
        target = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=\S+)*", run.strip())
        if not (target and target[1] in TARGETS) and not run.startswith(AROUND):
            found.append(run)
    return found


@pytest.mark.parametrize("job", list(jobs()))
def test_a_job_runs_targets_of_the_makefile_with_the_rights_and_time_it_states(job: Any) -> None:
    assert wrong(job) == []


@pytest.mark.parametrize("spoil", [
    {"permissions": None}, {"timeout-minutes": 0}, {"steps": [{"run": "make no-such-target"}]},
    {"steps": [{"run": "pytest"}]}, {"steps": [{"run": "make check; curl somewhere"}]},
    {"permissions": {"issues": "write"}}, {"permissions": {}, "uses": "./.github/no.yml"},
])  # fmt: skip
def test_one_that_does_not_is_found(spoil: dict[str, Any]) -> None:
    sound = read("ci.yml")["jobs"]["code"]
    assert wrong(sound) == []
    assert wrong(sound | spoil)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_gives_no_rights_and_pins_what_it_uses(file: Path) -> None:
    workflow, text = read(file.name), file.read_text()
    assert workflow["permissions"] == {}
    assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}
    assert not re.search(r"\blatest\b|pull_request_target", text)
    used = re.findall(r"uses: (\S+)(.*)", text)
    pinned = r"actions/[a-z-]+@[0-9a-f]{40}"
    for action, told in used:
        assert action.startswith("./") or re.fullmatch(pinned, action), action
        assert action.startswith("./") or re.fullmatch(r"  # v\d+\.\d+\.\d+", told), action


def test_nothing_is_promoted_before_the_gates_staging_and_an_approval() -> None:
    delivery = read("deliver.yml")["jobs"]
    promoting = [
        (file.name, name)
        for file in FILES
        for name, job in read(file.name)["jobs"].items()
        if any("make promote" in run for run in runs(job))
    ]
    assert promoting == [("deliver.yml", "production")]
    assert delivery["production"]["environment"] == "production"
    assert delivery["production"]["needs"] == "staging"
    assert delivery["staging"]["needs"] == "ci"
    assert runs(delivery["staging"])[:3] == ["make up-staging", "make run-stack", "make smoke"]
    # Neither of them continues after an earlier failure.
    assert not {"if", "continue-on-error"} & {*delivery["staging"], *delivery["production"]}


def test_who_needs_older_commits_fetches_them() -> None:
    for file in FILES:
        for name, job in read(file.name)["jobs"].items():
            if {"make test-long", "make report"} & set(runs(job)):
                fetched = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
                assert [step["with"].get("fetch-depth") for step in fetched] == [0], name


def test_ci_runs_what_a_developer_runs() -> None:
    runs_of_ci = [run for job in read("ci.yml")["jobs"].values() for run in runs(job)]
    script = (ROOT / ".ci" / "run").read_text()
    local = re.findall(r"^stage (make [^\n]*?)(?: PART=.*)?$", script, re.MULTILINE)
    local.remove("make install")  # the first step of all others
    assert local
    # A runner has time for one stack only.
    assert {run.removesuffix("-short") for run in local} | {"make test-stack"} <= set(runs_of_ci)
