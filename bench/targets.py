"""What is aimed at, and whether a set of results reaches it: the table of bench/README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from bench.runs import RUNS

Results = Mapping[str, Mapping[str, object]]  # by the name of a run
Key = str | int


class Target(NamedTuple):
    """A number at a place in the result of a run, and the least or the most that it is to be."""

    what: str
    run: str
    place: tuple[Key, ...]
    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
        )

    @property
    def goal(self) -> str:
        return f"at least {self.least:,g}" if self.least is not None else f"at most {self.most:,g}"


class Row(NamedTuple):
    """A target and what was measured, None when it was not; `sagas` when they were too few for the goal."""

    target: Target
    value: float | None
    sagas: int | None = None

    @property
    def verdict(self) -> str:
        """What was measured at another scale than the goal's says nothing of the goal."""
        if self.value is None:
            return ""
        if self.sagas is not None:
            return f"with {self.sagas:,} sagas only"
        return "met" if self.target.is_met(self.value) else "**not met**"


TARGETS: Final[Sequence[Target]] = (
    Target("engine: of the floor", "engine", ("ratio",), least=0.5),
    Target("POSTs: of bare Hypercorn and Starlette", "http", ("ratio",), least=0.85),
    Target("batches: of the floor", "http", ("batch_ratio",), least=0.35),
    Target("calls over HTTP: of the bare client", "calls", ("ratio",), least=0.6),
    *(
        Target(
            f"p99 of {name} while 10,000 sagas wait, ms",
            "http",
            ("latency_ms", name, "p99"),
            most=100,
        )
        for name in ("post", "get", "list", "compensate")
    ),
    Target("10,000 waiting sagas, MB", "parked-10000", ("megabytes",), most=60),
    Target("100,000 waiting sagas, MB", "parked-100000", ("megabytes",), most=300),
    Target("1,000,000 waiting sagas, MB", "parked-1000000", ("megabytes",), most=2_500),
    Target("CPU of 1,000,000 waiting sagas, of a core", "parked-1000000", ("idle_cpu_share",), most=0.02),
    Target("replay, events a second", "recovery", ("finished", "events_replayed_per_second"), least=150_000),
    Target("10,000 live sagas, no snapshot, s", "recovery", ("live", 0, "seconds_to_ready_without"), most=1),
    Target("100,000 live sagas, no snapshot, s", "recovery", ("live", 1, "seconds_to_ready_without"), most=8),
    Target("memory after 1,000,000, of that after 10,000", "growth", ("resident_ratio",), most=1.2),
    Target("journal on the disk, bytes a saga", "growth", ("bytes_per_saga",), most=700),
    Target("calls in the busiest second after the storm", "storm", ("calls_per_second_max",), most=550),
    Target("longest step of the engine's loop, ms", "engine", ("longest_step_ms",), most=10),
    Target("longest step of the server's loop, ms", "http", ("longest_step_ms",), most=10),
)  # fmt: skip


def rows_of(results: Results) -> Iterator[Row]:
    """Look every target up."""
    for target in TARGETS:
        found: object = results.get(target.run)
        for key in target.place:
            found = _member(found, key)
        value = float(found) if isinstance(found, int | float) else None
        yield Row(target, value, _fewer(target.run, results.get(target.run)))


def _fewer(run: str, result: Mapping[str, object] | None) -> int | None:
    """How many sagas it was measured with, None when with all that its run is to have."""
    sagas = result.get("sagas") if result is not None else None
    usual = {one.name: one.sagas for one in RUNS}[run]
    return sagas if isinstance(sagas, int) and sagas < usual else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _member(value: object, key: Key) -> object:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, Sequence) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def table_of(results: Results) -> str:
    """Write the table, in Markdown, with where its figures come from."""
    lines = ["| | measured | goal | |", "| --- | --- | --- | --- |"]
    for row in rows_of(results):
        shown = "not measured" if row.value is None else _number(row.value)
        lines.append(f"| {row.target.what} | {shown} | {row.target.goal} | {row.verdict} |")
    return "\n".join([*lines, "", *_sources(results)])


def _sources(results: Results) -> Iterator[str]:
    """Say which runs are from which machine and commit."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for name, result in results.items():
        source = tuple(str(result[key]) for key in ("machine", "python", "commit"))
        runs.setdefault(source, []).append(f"{name} ({result['date']})")
    for (machine, python, commit), names in runs.items():
        yield f"- {machine}, Python {python}, commit {commit or 'unknown'}: {', '.join(names)}"
