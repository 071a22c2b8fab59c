"""What is shipped for Prometheus and Grafana is about metrics that there are, and says what it has to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = ROOT / "ops/prometheus/sagakeep-alerts.yml"
DASHBOARD = ROOT / "ops/grafana/sagakeep.json"
_NAME = re.compile(r"\b(?:sagakeep|process)_[a-z_]+|\bsagakeep:[a-z_0-9:]+")


def documented() -> set[str]:
    """The names of all series; a test of the metrics holds the page to what a process tells."""
    page = (ROOT / "docs/operations.md").read_text()
    names = set(re.findall(r"`((?:sagakeep|process)_[a-z_]+)`", page))
    histograms = set(re.findall(r"`(sagakeep_[a-z_]+)` \|[^|]*\| histogram", page))
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}


def panels() -> list[dict[str, object]]:
    return json.loads(DASHBOARD.read_text())["panels"]


def expressions() -> str:
    rules = re.sub(r"#.*|description: .*|summary: .*", "", RULES.read_text())
    shown = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return "\n".join([rules, *shown])


def test_rules_and_dashboard_name_only_metrics_that_there_are():
    used = set(_NAME.findall(expressions()))
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    assert len(used) > 25
    assert used - documented() - recorded == set()


def test_every_panel_says_what_it_shows_and_in_which_unit():
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        if panel["type"] != "row":
            assert all([panel["title"], panel["description"], panel["targets"]]), panel["id"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert all("$instance" in target["expr"] for target in panel["targets"]), panel["title"]


def test_no_panel_lies_on_another():
    places: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & places, panel["title"]
        places |= cells


def test_every_alert_has_a_severity_and_says_what_to_do():
    alerts = RULES.read_text().split("- alert: ")[1:]
    assert len(alerts) > 8
    for alert in alerts:
        assert re.search(r"severity: (critical|warning)", alert)
        assert "summary: " in alert
        assert "description: " in alert


@pytest.mark.skipif(not shutil.which("promtool"), reason="`make rules-tools` installs promtool")
@pytest.mark.parametrize(
    "args",
    [("check", "rules", "sagakeep-alerts.yml"), ("test", "rules", "sagakeep-alerts-test.yml")],
)
def test_promtool_is_content(args):
    done = subprocess.run(
        ["promtool", *args], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
