"""The files of the monitoring stack: each alert has a test, a severity, a runbook and a receiver.

tests/stack runs these files in Prometheus and Alertmanager themselves.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.operations import watch

ROOT = Path(__file__).parents[2]
STACK = ROOT / "monitoring" / "stack"
DASHBOARDS = sorted((STACK / "grafana" / "dashboards").glob("*.json"))


def read(name: str) -> Any:
    return yaml.safe_load((STACK / name).read_text())


RULES: list[dict[str, Any]] = [
    rule for group in read("rules.yml")["groups"] for rule in group["rules"] if "alert" in rule
]
RECORDED = {
    rule["record"]
    for group in read("rules.yml")["groups"]
    for rule in group["rules"]
    if "record" in rule
}
NAMES = {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_a_description_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    # GitHub derives the anchor from the heading.
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_each_alert_has_one_complete_runbook() -> None:
    parts = re.split(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(found) == NAMES
    assert len(parts[1::2]) == len(NAMES), "one runbook per alert"
    for name, text in found.items():
        for part in ("Means", "Users see", "First look", "Mend", "Escalate"):
            assert f"**{part}.**" in text, (name, part)
    anchors = {name.lower() for name in NAMES}
    linked = set(re.findall(r"\(#(\w+)\)", "".join(parts)))
    assert linked <= anchors


def test_every_alert_is_tested_to_fire_and_to_clear() -> None:
    tested = {}
    recorded = set()
    for test in read("rules_test.yml")["tests"]:
        if "alert_rule_test" not in test:
            recorded.add(test["name"])
            continue
        expected = [bool(each["exp_alerts"]) for each in test["alert_rule_test"]]
        assert {each["alertname"] for each in test["alert_rule_test"]} == {test["name"]}
        tested[test["name"]] = expected
    assert set(tested) == NAMES
    assert recorded == RECORDED
    assert all(expected == [False, True, False] for expected in tested.values())


def test_inhibition_rules_name_existing_alerts() -> None:
    config = read("alertmanager.yml")
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, names = re.fullmatch(r'(\w+)=~?"(.+)"', matcher).groups()  # type: ignore[union-attr]
            if label == "alertname":
                assert set(names.split("|")) <= NAMES, matcher
    for receiver in config["receivers"]:
        (hook,) = receiver["webhook_configs"]
        assert hook == {"url": "http://watch:9108/alerts", "send_resolved": True}
    assert config["route"]["routes"][0]["matchers"] == ['severity="page"']


def queries() -> list[tuple[str, str]]:
    """Every PromQL expression of the stack: rules and dashboards."""
    found = [(rule["alert"], rule["expr"]) for rule in RULES]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return found


@pytest.mark.parametrize(("where", "query"), queries())
def test_queries_use_only_metrics_that_the_watch_exports(where: str, query: str) -> None:
    used = set(re.findall(r"mlops_(\w+)", query))
    assert used <= set(watch.METRIC_HELP), where


def test_dashboards_are_self_contained() -> None:
    assert [path.name for path in DASHBOARDS] == ["loop.json", "service.json"]
    source = read("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["uid"]
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards)
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in board["panels"]:
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {source}
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24


def test_grafana_asks_no_other_host() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    off = {
        "GF_ANALYTICS_REPORTING_ENABLED": "false", "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false", "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true", "GF_SECURITY_DISABLE_GRAVATAR": "true",
    }  # fmt: skip
    assert off.items() <= services["grafana"]["environment"].items()
    assert not any(name.startswith("GF_INSTALL") for name in services["grafana"]["environment"])
