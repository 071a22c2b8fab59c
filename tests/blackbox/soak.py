"""python -m blackbox.soak [--scale F] [--only NAME]: run the long campaigns and write them down.

Each is a command line of its own that prints one JSON object; this module knows how far each goes at scale 1, and
appends a row to `docs/reliability/ledger.md` for each. `--record NAME FILE` appends the row of a run made
by hand.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from blackbox import ledger_page
from blackbox.ledger_page import PAGE, ROOT, Run

COUNTS = ("count", "worlds", "seeds", "damages", "requests")  # what the commands call it
FAILURES = ("faults", "failed", "failures", "wrong")


class Campaign(NamedTuple):
    """`size` is at scale 1, or beyond reach; `command` may name {count}, {seed}, {first}, {end} and {stride}."""

    size: int
    command: str
    needs: str  # the file without which it is not here

    def words(self, seed: int, scale: float) -> list[str]:
        """The command line at a scale, from a seed on."""
        count = max(1, round(self.size * scale))
        fields = {"count": count, "seed": seed, "first": seed, "end": seed + count}
        return self.command.format(**fields, stride=max(1, round(1 / scale))).split()

    def seeds(self, seed: int, count: int) -> str:
        return f"{seed}:{seed + count}" if "{end}" in self.command else str(seed)


def _blackbox(name: str, size: int) -> Campaign:
    command = f"-m blackbox {name} --count {{count}} --seed {{seed}} --minutes 600 --json"
    return Campaign(size, command, f"tests/blackbox/{name}.py")


CAMPAIGNS = {
    "forks": _blackbox("forks", 20_000),
    "kills": _blackbox("kills", 500),
    "syscalls": _blackbox("syscalls", 2_000),
    "server_syscalls": _blackbox("server_syscalls", 180),
    "full": _blackbox("full", 100),
    "descriptors": _blackbox("descriptors", 20),
    "pause": _blackbox("pause", 24),
    "clock": _blackbox("clock", 64),
    "worlds": Campaign(
        200_000,
        "-m simulation random --seeds {first}:{end} --json",
        "tests/simulation/__main__.py",
    ),
    "worlds-exhaustive": Campaign(
        1_000_000,
        "-m simulation exhaustive --pairs --every {stride} --json",
        "tests/simulation/__main__.py",
    ),
    "worlds-faults": Campaign(
        1_000_000,
        "-m simulation faults --every {stride} --json",
        "tests/simulation/__main__.py",
    ),
    "corruption": Campaign(
        1_000_000,
        "-m corruption --seed {seed} --stride {stride} --json",
        "tests/corruption/__main__.py",
    ),
    "fuzz-raw": Campaign(
        1_000_000, "-m fuzz raw --requests {count} --seed {seed} --json", "tests/fuzz/raw.py"
    ),
    "fuzz-contract": Campaign(
        1_000_000,
        "-m fuzz contract --requests {count} --seed {seed} --json",
        "tests/fuzz/contract.py",
    ),
}


@click.command()
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), default=1.0)
@click.option("--only", multiple=True, type=click.Choice(list(CAMPAIGNS)), help="Not the others.")
@click.option("--seed", type=int, help="The first seed.  [default: above those of the ledger]")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="The ledger.")
@click.option("--record", nargs=2, type=str, help="NAME FILE: append a run whose JSON is in FILE.")
@click.option("--commit", help="With --record: what it ran on.  [default: what is checked out]")
def main(
    scale: float,
    only: tuple[str, ...],
    seed: int | None,
    page: Path,
    record: tuple[str, str] | None,
    commit: str | None,
) -> None:
    """Run the campaigns and append them to the ledger; exit 1 when one found a fault."""
    if record:
        told = json.loads(Path(record[1]).read_text())
        sys.exit(append(page, record[0], told, seed or told.get("seed", 0), commit))
    console = Console(stderr=True)
    failures = 0
    for at, name in enumerate(only or CAMPAIGNS, start=1):
        console.rule(f"{name} ({at} of {len(only or CAMPAIGNS)})")
        if not (ROOT / CAMPAIGNS[name].needs).exists():
            console.print(f"{CAMPAIGNS[name].needs} is not here")
            continue
        first = ledger_page.next_seed(page.read_text(), name) if seed is None else seed
        failures += append(page, name, run(name, first, scale), first)
    sys.exit(1 if failures else 0)


def run(name: str, seed: int, scale: float) -> dict[str, object]:
    """Run one campaign to its end; its progress goes to the terminal, its result comes back."""
    words = CAMPAIGNS[name].words(seed, scale)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    began_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
    )
    lines = ended.stdout.strip().splitlines()
    told: dict[str, object] = json.loads(lines[-1]) if lines else {}
    told = {"seconds": time.monotonic() - began_s, **told}
    if ended.returncode != 0 and not failures_of(told):
        told["failures"] = 1  # it ended without a result
    return told


def append(
    page: Path, name: str, told: Mapping[str, object], seed: int, commit: str | None = None
) -> int:
    """Write one run down; returns how many failures it had."""
    console = Console(stderr=True)
    if told.get("skipped"):
        console.print(f"{name} was skipped: {told['skipped']}")
        return 0
    count, failures = count_of(told), failures_of(told)
    seeds = CAMPAIGNS[name].seeds(seed, count)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    commit = commit or ledger_page.commit()
    seconds = told.get("seconds", 0)
    assert isinstance(seconds, int | float), seconds
    row = Run(date, commit, ledger_page.machine(), name, count, seeds, failures, round(seconds))
    page.write_text(ledger_page.add_run(page.read_text(), row))
    click.echo(row.row(), err=True)
    return failures


def count_of(told: Mapping[str, object]) -> int:
    """How much was done, whatever the command calls it."""
    return next((_size(told[key]) for key in COUNTS if key in told), 0)


def failures_of(told: Mapping[str, object]) -> int:
    """How much went wrong, whatever the command calls it."""
    return next((_size(told[key]) for key in FAILURES if key in told), 0)


def _size(value: object) -> int:
    if isinstance(value, list | tuple | dict):
        return len(value)
    assert isinstance(value, int), value
    return value


if __name__ == "__main__":
    main(prog_name="python -m blackbox.soak")
