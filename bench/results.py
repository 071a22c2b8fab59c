"""The results of all benches: run one after another, kept, drawn, and put into the README.

bench/results/NAME.json    one for each run
bench/results/NAME.svg     charts
bench/README.md            the table between two markers
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.chart import Bar, Series, bar_chart, line_chart
from bench.provenance import ROOT
from bench.runs import RUNS, Run
from bench.targets import Results, rows_of, table_of

DIRECTORY: Final = ROOT / "bench" / "results"
README: Final = ROOT / "bench" / "README.md"
BEGIN: Final = "<!-- results: written by python -m bench all -->"
END: Final = "<!-- end of results -->"
SAGAS_MIN: Final = 100

Result = dict[str, object]


def run_all(names: Iterable[str], share: float, directory: Path, readme: Path) -> Results:
    """Run those that are named, a share of each, and write everything that is known after each of them.

    Raises CalledProcessError when one fails; what was measured before is kept.
    """
    chosen = set(names)
    for run in RUNS:
        if run.name in chosen or run.benchmark in chosen:
            keep(run.name, measure_apart(run, share), directory)
            write_up(directory, readme)
    return read_results(directory)


def measure_apart(run: Run, share: float) -> Result:
    """Measure in a process of its own, whose bar is seen here."""
    sagas = max(SAGAS_MIN, round(run.sagas * share))
    command = [sys.executable, "-m", "bench", run.benchmark, "--json", "--sagas", str(sagas)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Result)


def keep(name: str, result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def read_results(directory: Path) -> dict[str, Result]:
    """What is there, in the order of RUNS."""
    paths = {run.name: directory / f"{run.name}.json" for run in RUNS}
    return {
        name: msgspec.json.decode(path.read_bytes(), type=Result)
        for name, path in paths.items()
        if path.exists()
    }


def write_up(directory: Path, readme: Path) -> None:
    """Draw the charts, and put the table into the page."""
    results = read_results(directory)
    for name, chart in charts_of(results).items():
        (directory / f"{name}.svg").write_text(chart)
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme}: the markers {BEGIN!r} and {END!r} are not there")
    readme.write_text(f"{before}{BEGIN}\n\n{table_of(results)}\n\n{END}{after}")


# Charts


def charts_of(results: Results) -> dict[str, str]:
    """Draw what there are results of; by name."""
    drawers = {
        "ratios": _ratios,
        "latency": _latency,
        "parked": _parked,
        "storm": _storm,
        "throughput-while-growing": _throughput,
        "memory-while-growing": _memory,
        "peers": _peers,
    }
    drawn = {name: drawer(results) for name, drawer in drawers.items()}
    return {name: chart for name, chart in drawn.items() if chart}


def _ratios(results: Results) -> str:
    names = {"ratio", "batch_ratio"}
    bars = [
        Bar(
            f"{target.run}{' batch' if target.place[0] == 'batch_ratio' else ''}",
            value,
            target.least,
        )
        for target, value, _ in rows_of(results)
        if value is not None and target.place[0] in names
    ]
    return bar_chart("Share of the bound of the same run (dashed: goal)", bars) if bars else ""


def _latency(results: Results) -> str:
    spreads = _numbers_by_name(results.get("http", {}).get("latency_ms"))
    if not spreads:
        return ""
    bars = [
        Bar(f"{name} {part}", spread[part], 100.0 if part == "p99" else None)
        for name, spread in spreads.items()
        for part in ("p50", "p99")
    ]
    return bar_chart("Latency while sagas wait, ms (dashed: goal of the p99)", bars)


def _parked(results: Results) -> str:
    bars = [
        Bar(f"{target.run.partition('-')[2]} sagas", value, target.most)
        for target, value, _ in rows_of(results)
        if value is not None and target.place == ("megabytes",)
    ]
    return bar_chart("Memory of sagas that wait, MB (dashed: goal)", bars) if bars else ""


def _storm(results: Results) -> str:
    result = results.get("storm")
    if result is None:
        return ""
    counts = msgspec.convert(result["calls_each_second"], list[int])
    limit = msgspec.convert(result["rate_limit_per_second"], float)
    calls = Series("calls a second", [(float(at), float(count)) for at, count in enumerate(counts)])
    title = f"A service is dead for {result['seconds_dead']} s, then back (dashed: its rate limit)"
    return line_chart(title, "seconds", [calls], goal=limit)


def _throughput(results: Results) -> str:
    series = _samples(results, {"sagas_per_second": "sagas a second"})
    return (
        line_chart("Throughput while sagas come and go", "sagas so far", series) if series else ""
    )


def _memory(results: Results) -> str:
    names = {
        "resident_megabytes": "memory",
        "journal_megabytes": "journal",
        "other_megabytes": "index and snapshots",
    }
    series = _samples(results, names)
    return line_chart("Memory and disk, MB", "sagas so far", series) if series else ""


def _samples(results: Results, names: Mapping[str, str]) -> list[Series]:
    if "growth" not in results:
        return []
    samples = msgspec.convert(results["growth"]["samples"], list[dict[str, float]])
    return [
        Series(shown, [(sample["sagas"], sample[name]) for sample in samples])
        for name, shown in names.items()
    ]


def _peers(results: Results) -> str:
    rows = msgspec.convert(results.get("peers", {}).get("rows", []), list[dict[str, object]])
    bars = [
        Bar(str(row["name"]), float(rate))
        for row in rows
        if isinstance(rate := row.get("sagas_per_second"), int | float)
    ]
    return bar_chart("The same sagas, a second", bars) if bars else ""


def _numbers_by_name(value: object) -> dict[str, dict[str, float]]:
    return msgspec.convert(value or {}, dict[str, dict[str, float]])
