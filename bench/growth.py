"""growth: what changes while a million sagas come and go, in one process on one directory.

A sample every hundredth: throughput, latency of a saga from its start to its end, of a page of the list, memory,
and the sizes of the files.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.benchmark import Numbers, Progress, Scale, percentile, work_directory
from bench.load import seconds_of
from bench.parked import resident
from bench.sagas import Nothing, check_ends, run_sagas
from sagakeep.orchestrator import Orchestrator, SagaQuery, open_orchestrator
from sagakeep.state import SagaStatus

SCALE: Final = Scale(1_000_000)
SAMPLES: Final = 100
IN_FLIGHT: Final = 1_000
PAGE: Final = 50
PAGES: Final = 20  # of the list, whose p99 is that of the slowest


class Sample(NamedTuple):
    """After so many sagas; rates and times are of those since the sample before."""

    sagas: int
    sagas_per_second: float
    list_p50_ms: float
    list_worst_ms: float
    resident_megabytes: float
    journal_megabytes: float
    other_megabytes: float


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Run them in a hundred turns with a sample after each."""
    turn = scale.sagas // SAMPLES
    progress.expect(turn * SAMPLES)
    samples: list[Sample] = []
    ends: Counter[SagaStatus] = Counter()
    with work_directory() as directory:
        async with open_orchestrator(directory, {"nothing": Nothing()}) as orchestrator:
            for _ in range(SAMPLES):
                began_s = time.perf_counter()
                ends += await run_sagas(orchestrator, "nothing", turn, IN_FLIGHT, progress)
                rate = turn / (time.perf_counter() - began_s)
                pages_s = await time_pages(orchestrator)
                samples.append(take_sample(directory, turn * (len(samples) + 1), rate, pages_s))
    sagas = turn * SAMPLES
    check_ends(ends, sagas)
    return {**sum_up(samples), "samples": [sample._asdict() for sample in samples]}


def sum_up(samples: Sequence[Sample]) -> Numbers:
    """Compare the end with the beginning: memory with that after the first hundredth, rates by tenths."""
    first, last, tenth = samples[0], samples[-1], len(samples) // 10
    rate_first = _mean([sample.sagas_per_second for sample in samples[:tenth]])
    rate_last = _mean([sample.sagas_per_second for sample in samples[-tenth:]])
    return {
        "sagas": last.sagas,
        "in_flight": IN_FLIGHT,
        "resident_megabytes_first": first.resident_megabytes,
        "resident_megabytes_last": last.resident_megabytes,
        "resident_ratio": round(last.resident_megabytes / first.resident_megabytes, 3),
        "sagas_per_second_first_tenth": round(rate_first, 1),
        "sagas_per_second_last_tenth": round(rate_last, 1),
        "throughput_ratio": round(rate_last / rate_first, 3),
        "bytes_per_saga": round(last.journal_megabytes * 1e6 / last.sagas, 1),
        "other_bytes_per_saga": round(last.other_megabytes * 1e6 / last.sagas, 1),
    }


async def time_pages(orchestrator: Orchestrator) -> list[float]:
    """Seconds of each of PAGES pages of the list."""
    await orchestrator.list(SagaQuery(limit=1))  # the rows that are still to be written
    return [await seconds_of(orchestrator.list(SagaQuery(limit=PAGE))) for _ in range(PAGES)]


def take_sample(directory: str, sagas: int, rate: float, pages_s: Sequence[float]) -> Sample:
    journal = _bytes_below(Path(directory, "wal"))
    return Sample(
        sagas,
        round(rate, 1),
        round(percentile(pages_s, 0.5) * 1e3, 2),
        round(max(pages_s) * 1e3, 2),
        round(resident() / 1e6, 1),
        round(journal / 1e6, 1),
        round((_bytes_below(Path(directory)) - journal) / 1e6, 1),
    )


def _bytes_below(directory: Path) -> int:
    """What the files take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
