"""recovery: how soon a directory runs again, beside a bare msgpack loop over the bytes of its journal.

Live sagas, a tenth of them and all, are taken up with the newest snapshot and, as after a kill before the first,
without; finished ones are replayed. The read model is there; to make that anew takes longer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgpack
import trio

from bench.benchmark import Numbers, Progress, Scale, work_directory
from bench.parked import start_sagas
from bench.sagas import Nothing, check_ends, run_sagas
from bench.served import Away
from sagakeep import limits
from sagakeep.actors.recovery import RecoverySummary
from sagakeep.orchestrator import open_orchestrator
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_files import open_journal

SCALE: Final = Scale(100_000)
IN_FLIGHT: Final = 1_000


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Make three directories and open each; raises when a saga is missing."""
    few = scale.sagas // 10
    progress.expect(scale.sagas + 2 * few)
    return {
        "sagas": scale.sagas,
        "live": [await measure_live(sagas, progress) for sagas in (few, scale.sagas)],
        "finished": await measure_finished(few, progress),
    }


async def measure_live(sagas: int, progress: Progress) -> Numbers:
    """Sagas that wait for a service: the time until all of them run again."""
    service = Away()
    services = {"away": service.spec()}
    with work_directory() as directory:
        async with open_orchestrator(directory, services) as orchestrator:
            await start_sagas(orchestrator, sagas, progress)
            await service.wait_asked(sagas)
        with_s, with_snapshot = await open_again(directory, services)
        forget_snapshots(directory)
        events, bare_s = await trio.to_thread.run_sync(decode_barely, directory)
        without_s, without = await open_again(directory, services)
    if with_snapshot.live != sagas or without.live != sagas:
        raise AssertionError(f"of {sagas} sagas are back: {with_snapshot}, {without}")
    if not with_snapshot.from_snapshot or without.from_snapshot:
        raise AssertionError(f"the snapshot was not used, or used: {with_snapshot}, {without}")
    return {
        "sagas": sagas,
        "seconds_to_ready_with_snapshot": round(with_s, 3),
        "seconds_to_ready_without": round(without_s, 3),
        **_rates(without, events, bare_s),
    }


async def measure_finished(sagas: int, progress: Progress) -> Numbers:
    """Sagas that have ended, without a snapshot: nothing but the fold."""
    with work_directory() as directory:
        async with open_orchestrator(directory, {"nothing": Nothing()}) as orchestrator:
            check_ends(await run_sagas(orchestrator, "nothing", sagas, IN_FLIGHT, progress), sagas)
        forget_snapshots(directory)
        events, bare_s = await trio.to_thread.run_sync(decode_barely, directory)
        seconds, summary = await open_again(directory, {"nothing": Nothing()})
    if summary.live:
        raise AssertionError(f"all had ended: {summary}")
    return {
        "sagas": sagas,
        "seconds_to_ready_without": round(seconds, 3),
        **_rates(summary, events, bare_s),
    }


def _rates(summary: RecoverySummary, events: int, bare_s: float) -> Numbers:
    if summary.events != events:
        raise AssertionError(f"the bare loop found {events} events: {summary}")
    return {
        "events": events,
        "events_replayed_per_second": round(events / summary.seconds),
        "bare_events_per_second": round(events / bare_s),
        "ratio": round(bare_s / summary.seconds, 3),
    }


async def open_again(
    directory: str, services: Mapping[str, object]
) -> tuple[float, RecoverySummary]:
    """Open a directory; the seconds until every live saga runs, and what recovery did."""
    began_s = time.perf_counter()
    async with open_orchestrator(directory, services) as orchestrator:
        seconds, summary = time.perf_counter() - began_s, orchestrator.recovery
    assert summary is not None, "it is recovered when it is open"
    return seconds, summary


def forget_snapshots(directory: str) -> None:
    """As after a kill before the first one: everything is to be read from the journal."""
    for path in Path(directory, "snap").glob("*.snap"):
        path.unlink()


def decode_barely(directory: str) -> tuple[int, float]:
    """Unpack every record of a journal and do nothing with it: how many events, and the seconds."""
    files = open_journal(
        LocalDisk(),
        directory,
        now_ns=time.time_ns(),
        segment_bytes=limits.SEGMENT_BYTES,
        salt=lambda: bytes(16),
        uuid=lambda: bytes(16),
    ).files
    try:
        bodies = [frame.body for frame in files.scan()]
    finally:
        files.close()
    began_s, events = time.perf_counter(), 0
    for body in bodies:
        unpacker = msgpack.Unpacker(max_buffer_size=len(body))
        unpacker.feed(body)
        events += sum(len(record[5]) for record in unpacker)
    return events, time.perf_counter() - began_s
