"""What is done with the figures of a bench: the table, the charts, and the page that they are written into."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from bench.chart import Bar, Series, bar_chart, line_chart, nice_top, short
from bench.results import BEGIN, END, README, charts_of, keep, read_results, run_all, write_up
from bench.runs import RUNS
from bench.targets import TARGETS, Target, rows_of, table_of

SOURCE = {"machine": "2 cores", "python": "3.11.7", "commit": "abc+", "date": "2026-11-27"}
SPREADS = {name: {"p50": 1.0, "p99": 20.0} for name in ("post", "get", "list", "compensate")}
SAMPLE = {
    "sagas_per_second": 3_000.0,
    "resident_megabytes": 50.0,
    "journal_megabytes": 5.0,
    "other_megabytes": 1.0,
}
RESULTS = {
    "engine": {"ratio": 0.51, "longest_step_ms": 12.0, **SOURCE},
    "http": {"ratio": 0.5, "batch_ratio": 0.4, "latency_ms": SPREADS, **SOURCE},
    "parked-10000": {"megabytes": 43.5, **SOURCE},
    "storm": {
        "calls_each_second": [10, 0, 500],
        "rate_limit_per_second": 500.0,
        "seconds_dead": 2.0,
        "calls_per_second_max": 550,
        **SOURCE,
    },
    "recovery": {"live": [{"seconds_to_ready_without": 0.9}], **SOURCE},
    "growth": {"samples": [{"sagas": 10, **SAMPLE}, {"sagas": 20, **SAMPLE}], **SOURCE},
    "peers": {"rows": [{"name": "one", "sagas_per_second": 5.0}, {"name": "two"}], **SOURCE},
}
NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}


def drawn(chart):
    return ET.fromstring(chart)


def texts(chart):
    return [text.text for text in drawn(chart).iterfind(".//svg:text", NAMESPACE)]


def test_the_table_says_what_is_met_what_is_not_and_what_was_not_measured():
    table = table_of(RESULTS)
    assert "| engine: of the floor | 0.51 | at least 0.5 | met |" in table
    assert "| POSTs: of bare Hypercorn and Starlette | 0.5 | at least 0.85 | **not met** |" in table
    assert "| 10,000 live sagas, no snapshot, s | 0.9 | at most 1 | met |" in table
    assert "| 100,000 live sagas, no snapshot, s | not measured | at most 8 |  |" in table
    assert "- 2 cores, Python 3.11.7, commit abc+: engine (2026-11-27), http" in table


def test_what_was_measured_with_fewer_sagas_says_so_and_meets_nothing():
    table = table_of(
        {"recovery": {"sagas": 2_000, "live": [{"seconds_to_ready_without": 0.1}], **SOURCE}}
    )
    assert (
        "| 10,000 live sagas, no snapshot, s | 0.1 | at most 1 | with 2,000 sagas only |" in table
    )
    full = table_of({"engine": {"sagas": 30_000, "ratio": 0.6, **SOURCE}})
    assert "| engine: of the floor | 0.6 | at least 0.5 | met |" in full


def test_every_target_is_of_a_run_that_is_made():
    assert {target.run for target in TARGETS} <= {run.name for run in RUNS}
    assert all((target.least is None) != (target.most is None) for target in TARGETS)


def test_a_target_is_met_at_its_very_bound():
    assert Target("", "", (), least=2).is_met(2)
    assert not Target("", "", (), least=2).is_met(1.99)
    assert Target("", "", (), most=2).is_met(2)
    assert not Target("", "", (), most=2).is_met(2.01)


def test_what_is_no_number_was_not_measured():
    values = {
        row.target.what: row.value
        for row in rows_of({"engine": {"ratio": "fast"}, "recovery": {"live": 3}})
    }
    assert not [value for value in values.values() if value is not None]


def test_every_chart_is_drawn_from_what_there_is():
    charts = charts_of(RESULTS)
    assert set(charts) == {
        "ratios",
        "latency",
        "parked",
        "storm",
        "throughput-while-growing",
        "memory-while-growing",
        "peers",
    }
    assert all(drawn(chart).tag.endswith("svg") for chart in charts.values())
    assert {"post", "p50", "p99"} <= set(texts(charts["latency"]))  # in two lines
    assert texts(charts["peers"]).count("one") == 1
    assert "two" not in texts(charts["peers"])  # it could not be installed
    assert charts_of({}) == {}


def test_a_bar_is_as_high_as_its_value():
    chart = drawn(bar_chart("Bars", [Bar("low", 1.0, goal=2.0), Bar("high", 4.0)]))
    low, high = chart.findall("svg:rect", NAMESPACE)[1:]  # the first is the paper
    assert float(high.get("height")) == pytest.approx(4 * float(low.get("height")), rel=0.01)
    assert len(chart.findall("svg:line[@class='goal']", NAMESPACE)) == 1


def test_a_line_goes_from_edge_to_edge_and_names_are_escaped():
    chart = line_chart("a < b", "x", [Series("<s>", [(0, 0), (10, 5)]), Series("t", [])], goal=3)
    assert "<s>" in texts(chart)
    first = drawn(chart).find("svg:polyline", NAMESPACE)
    assert [point.split(",")[0] for point in first.get("points").split()] == ["76.0", "700.0"]
    assert drawn(line_chart("one point", "x", [Series("s", [(1, 1)])])) is not None


def test_numbers_are_written_shortly():
    assert [short(value) for value in (0, 0.025, 7.5, 149.6, 12_000, 2_500_000)] == [
        "0",
        "0.025",
        "7.5",
        "150",
        "12k",
        "2.5M",
    ]
    assert [nice_top(value) for value in (0, 0.03, 1, 3, 70)] == [1, 0.05, 1, 5, 100]


def test_results_go_into_files_and_between_the_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for name, result in RESULTS.items():
        keep(name, result, tmp_path / "results")
    write_up(tmp_path / "results", page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "engine: of the floor" in text
    assert "old" not in text
    known = {run.name for run in RUNS}
    assert read_results(tmp_path / "results") == {
        name: result for name, result in RESULTS.items() if name in known
    }
    write_up(tmp_path / "results", page)
    assert page.read_text() == text  # again, and nothing changes
    assert (tmp_path / "results" / "storm.svg").exists()


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="markers"):
        write_up(tmp_path, page)
    assert page.read_text() == "nothing here"


def test_the_page_of_the_benches_has_the_markers():
    text = README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert all(f"## {run.benchmark}\n" in text for run in RUNS)


def test_all_runs_those_that_are_named_and_keeps_each(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"{BEGIN}{END}")
    found = run_all(["engine"], 0.001, tmp_path / "results", page)
    assert list(found) == ["engine"]
    assert found["engine"]["sagas"] == 100
    assert json.loads((tmp_path / "results" / "engine.json").read_text()) == found["engine"]
    assert "engine: of the floor" in page.read_text()
