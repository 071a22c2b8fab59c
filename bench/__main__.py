"""python -m bench NAME [--json]: measure, show progress on a terminal, print one JSON object or a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import click
import trio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import engine, waiting
from sagakeep.runtime.collector import slow_collector_down

Measure = Callable[[Callable[[int], None]], Awaitable[dict[str, object]]]

BENCHMARKS: Final[dict[str, tuple[Measure, int]]] = {
    "engine": (engine.measure, 2 * engine.SAGAS),
    "waiting": (waiting.measure, waiting.SAGAS),
}


@click.command()
@click.argument("name", type=click.Choice(sorted(BENCHMARKS)))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def main(name: str, as_json: bool) -> None:
    """Measure NAME on this machine."""
    slow_collector_down()  # as `sagakeep serve` does; the floor gains from it too
    measure, total = BENCHMARKS[name]
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(name, total=total)
        numbers = trio.run(measure, lambda count: bar.advance(task, count))
    if as_json:
        print(json.dumps(numbers))
        return
    table = Table(title=name, show_header=False)
    for key, value in numbers.items():
        table.add_row(key, str(value))
    Console().print(table)


if __name__ == "__main__":
    main(prog_name="python -m bench")
