"""python -m fuzz NAME [--requests N] [--seed S] [--json]: fuzz a server of its own, then say what came back."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from fuzz.contract import fuzz_contract
from fuzz.raw import fuzz_raw
from fuzz.server import Broken

Fuzz = Callable[[Path, int, int, Callable[[int], None]], dict[str, int]]

FUZZERS: Final[dict[str, Fuzz]] = {"contract": fuzz_contract, "raw": fuzz_raw}


@click.command()
@click.argument("name", type=click.Choice(sorted(FUZZERS)))
@click.option("--requests", default=10_000, show_default=True, help="How many.")
@click.option("--seed", type=int, help="The same seed sends the same bytes.  [default: a new one]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def main(name: str, requests: int, seed: int | None, as_json: bool) -> None:
    """Fuzz the edge: NAME is `raw` for bytes, `contract` for what the OpenAPI document allows and forbids."""
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    console = Console(stderr=True)
    console.print(f"seed {seed}")
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar,
    ):
        task = bar.add_task(name, total=requests)
        try:
            counts = FUZZERS[name](
                Path(folder) / name, requests, seed, lambda n: bar.advance(task, n)
            )
        except (Broken, ExceptionGroup) as error:
            console.print_exception()
            raise SystemExit(1) from error
    if as_json:
        print(json.dumps({"seed": seed, **counts}))
    else:
        print(", ".join(f"{key} {value}" for key, value in {"seed": seed, **counts}.items()))


if __name__ == "__main__":
    main(prog_name="python -m fuzz")
