"""Contract: let schemathesis hold a real server to its own OpenAPI document.

It makes requests of that document, good and bad, follows its links from one operation to the next, and looks at
each reply: no server error, a declared status and media type, a body and headers that fit their schema, and
nothing without a key that wants one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fuzz.server import ENVIRON, Broken, Server, running_server

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "ignored_auth",
)
PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
EXAMPLES_MAX: Final = 1_000  # for each operation, in one run of schemathesis
REQUESTS_PER_EXAMPLE: Final = 14  # of the fuzzing phase: the number of operations, and a little
RUN_S_MAX: Final = 3_600.0


def fuzz_contract(
    directory: Path,
    requests: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
    phases: Sequence[str] = PHASES,
) -> dict[str, int]:
    """Make at least so many requests, in runs with seeds from `seed` on; return replies by status.

    Raises Broken, with the report of the run that failed. `advance` is told of the requests of each run.
    """
    counts: Counter[str] = Counter()
    with running_server(directory, with_key=True) as server:
        while counts.total() < requests:
            missing = requests - counts.total()
            examples = max(1, min(EXAMPLES_MAX, missing // REQUESTS_PER_EXAMPLE))
            run_counts = _run(server, directory, _arguments(server, phases, examples, seed), seed)
            counts.update(run_counts)
            advance(sum(run_counts.values()))
            seed += 1
            server.check_alive()
        server.check_rest()
        server.end()
    return {"requests": counts.total(), **dict(sorted(counts.items()))}


def _run(server: Server, directory: Path, arguments: list[str], seed: int) -> dict[str, int]:
    """Run schemathesis once."""
    counts = directory / "counts.json"
    environ = {
        **ENVIRON,  # it leaves files where it runs, which is elsewhere
        "SCHEMATHESIS_HOOKS": "fuzz.contract_hooks",
        "FUZZ_COUNTS": str(counts),
        "FUZZ_SEED": str(seed),
    }
    command = [sys.executable, "-m", "schemathesis.cli", *arguments]
    done = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=RUN_S_MAX
    )
    if done.returncode != 0:
        server.check_alive()
        raise Broken(f"schemathesis with seed {seed}:\n{done.stdout}\n{done.stderr}")
    found: dict[str, int] = json.loads(counts.read_text())
    return found


def _arguments(server: Server, phases: Sequence[str], examples: int, seed: int) -> list[str]:
    return [
        *("--no-color", "run", f"http://127.0.0.1:{server.port}/openapi.json"),
        *("--header", f"Authorization: Bearer {server.key}"),
        *("--checks", ",".join(CHECKS), "--phases", ",".join(phases)),
        *("--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "20"),
        *("--generation-database", "none", "--continue-on-failure", "--warnings", "off"),
        *("--suppress-health-check", "all"),
        *("--exclude-path", "/api/events"),  # a stream that never ends
    ]
