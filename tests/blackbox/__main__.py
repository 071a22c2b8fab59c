"""python -m blackbox NAME [--count N] [--seed S] [--minutes M] [--json]: break it, and look at what is left.

Exit 0 when every promise was kept, 1 when one was not; then the directories are kept, and named. SIGINT and
SIGTERM end a campaign early, with what it found so far.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from blackbox.campaign import Bounds, Findings
from blackbox.planted import PLANTS
from blackbox.processes import Broken
from sagakeep.runtime.collector import turn_collector_off

CONSOLE = Console(stderr=True)


class Campaign(NamedTuple):
    size: int
    minutes: float
    about: str


CAMPAIGNS = {
    "kills": Campaign(100, 60, "SIGKILL of the whole server at random instants"),
    "syscalls": Campaign(1_000, 60, "a kill or an error at the n-th system call, by strace"),
    "server_syscalls": Campaign(36, 30, "a kill or an error of the whole server, by strace"),
    "pause": Campaign(8, 30, "SIGSTOP of services and server for 30 s"),
    "clock": Campaign(16, 30, "jumps of the wall clock by a day and a year"),
    "full": Campaign(10, 30, "a disk that is filled up and freed again"),
    "descriptors": Campaign(5, 30, "more clients than file descriptors"),
    "forks": Campaign(1_000, 30, "SIGKILL of forked orchestrators at random instants"),
}


@click.command()
@click.argument("name", type=click.Choice(sorted(CAMPAIGNS)))
@click.option("--count", type=click.IntRange(min=1), help="Kills, faults or rounds.")
@click.option("--seed", type=int, default=1, show_default=True, help="What all chance comes from.")
@click.option("--minutes", type=float, help="Begin nothing after so many.")
@click.option("--pause", type=float, default=30.0, show_default=True, help="Seconds of a SIGSTOP.")
@click.option("--keep", type=click.Path(file_okay=False), help="Where the directories are made.")
@click.option("--plant", type=click.Choice(sorted(PLANTS)), help="A bug that it must then find.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def main(
    name: str,
    count: int | None,
    seed: int,
    minutes: float | None,
    pause: float,
    keep: str | None,
    plant: str | None,
    as_json: bool,
) -> None:
    """Run the campaign NAME."""
    campaign = CAMPAIGNS[name]
    if plant:
        PLANTS[plant]()
    turn_collector_off()  # as `sagakeep serve` does; and a fork then copies less
    root = Path(keep) if keep else Path(tempfile.mkdtemp(prefix=f"blackbox-{name}-"))
    root.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    with _progress(name, count or campaign.size) as advance:
        seconds_max = 60 * (minutes or campaign.minutes)
        bounds = Bounds(root, count or campaign.size, seed, seconds_max, advance, pause)
        _run(name, bounds)
    _print(name, seed, bounds.findings, time.monotonic() - began_s, as_json)
    if bounds.findings.faults:
        CONSOLE.print(f"the directories are kept in {root}")
        sys.exit(1)
    if not keep:
        shutil.rmtree(root)


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is. No thread refreshes it: there must be none when a campaign forks."""
    with Progress(
        console=CONSOLE, disable=not sys.stderr.isatty(), transient=True, auto_refresh=False
    ) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, advance=done, refresh=True)


def _run(name: str, bounds: Bounds) -> None:
    """Run a campaign to its end, or until a signal ends it early: then what was done so far counts."""
    run: Callable[[Bounds], None] = import_module(f"blackbox.{name}").run
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, bounds.stop)
    try:
        run(bounds)
    except Broken as error:
        bounds.findings.blame(name, [str(error)])


def _print(name: str, seed: int, findings: Findings, seconds: float, as_json: bool) -> None:
    told = {"campaign": name, "seed": seed, "seconds": round(seconds, 1)}
    told |= msgspec.to_builtins(findings)
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    table = Table(title=name, show_header=False)
    for key, value in {**told, **findings.numbers}.items():
        if key not in ("numbers", "campaign"):
            table.add_row(key, "\n".join(value) if isinstance(value, list) else str(value))
    Console().print(table)


if __name__ == "__main__":
    main(prog_name="python -m blackbox")
