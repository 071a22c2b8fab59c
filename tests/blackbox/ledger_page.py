"""The ledger of reliability, `docs/reliability/ledger.md`: a row for each long run, and their sums.

The page is text for people; a program only appends to the table of runs and makes the table of sums anew.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability" / "ledger.md"
RUN_HEAD = "| date | commit | machine | campaign | count | seeds | failures | seconds |"
SUM_HEAD = "| campaign | runs | count | failures | hours |"
CELL = re.compile(r" *\| *")


class Run(NamedTuple):
    """One row: `units` is what the campaign counts (kills, worlds, requests), `seeds` is `S` or `A:B`."""

    date: str
    commit: str
    machine: str
    campaign: str
    units: int
    seeds: str
    failures: int
    seconds: int

    def row(self) -> str:
        return f"| {' | '.join(map(str, self))} |"


def read_runs(text: str) -> list[Run]:
    """The rows of the table of runs. Raises ValueError for a row that is none."""
    runs = []
    for cells in _rows(text, RUN_HEAD):
        date, commit, machine, campaign, count, seeds, failures, seconds = cells
        numbers = int(count), int(failures), int(seconds)
        runs.append(Run(date, commit, machine, campaign, numbers[0], seeds, *numbers[1:]))
    return runs


def sum_rows(runs: Sequence[Run]) -> list[str]:
    """The table of sums, without its head; campaigns in the order of their first run."""
    rows = []
    for campaign in dict.fromkeys(run.campaign for run in runs):
        of_it = [run for run in runs if run.campaign == campaign]
        count, failures = sum(r.units for r in of_it), sum(r.failures for r in of_it)
        hours = sum(r.seconds for r in of_it) / 3600
        rows.append(f"| {campaign} | {len(of_it)} | {count} | {failures} | {hours:.2f} |")
    return rows


def read_sums(text: str) -> list[str]:
    """The rows of the table of sums, as they stand."""
    return [f"| {' | '.join(cells)} |" for cells in _rows(text, SUM_HEAD)]


def add_run(text: str, run: Run) -> str:
    """The page with one more run, and new sums."""
    runs = [*read_runs(text), run]
    text = _replace(text, RUN_HEAD, [one.row() for one in runs])
    return _replace(text, SUM_HEAD, sum_rows(runs))


def next_seed(text: str, campaign: str) -> int:
    """A seed above all that the campaign was run with."""
    ends = [int(r.seeds.rpartition(":")[2]) for r in read_runs(text) if r.campaign == campaign]
    return max(ends, default=0) + 1


def _rows(text: str, head: str) -> list[list[str]]:
    _, _, rest = text.partition(f"{head}\n")
    if not rest:
        raise ValueError(f"the page has no table {head}")
    rows = []
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            break
        rows.append(CELL.split(line.strip("| ")))
    return rows


def _replace(text: str, head: str, rows: Sequence[str]) -> str:
    before, _, rest = text.partition(f"{head}\n")
    lines = rest.splitlines(keepends=True)
    end = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return (
        before + f"{head}\n{lines[0]}" + "".join(f"{row}\n" for row in rows) + "".join(lines[end:])
    )


# This machine


def machine() -> str:
    """Cores, processor and Python."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    name = re.sub(r"\s+|\|", " ", model[1]) if model else platform.machine()
    return f"{os.cpu_count()} cores {name}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that is checked out, with a `+` when files differ from it."""
    ask = ["git", "-C", str(ROOT)]
    found = subprocess.run([*ask, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*ask, "status", "--porcelain", "--", "sagakeep"], capture_output=True, text=True
    )
    return (found.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")
