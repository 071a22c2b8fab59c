"""A journal of about 20 KB as the engine writes it: three starts, several segments, two snapshots."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import trio

from sagakeep.orchestrator import Orchestrator, Ports, open_orchestrator
from sagakeep.runtime import frame, segment
from sagakeep.runtime.blocking import in_turn
from sagakeep.service import Call, ServiceRefused
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.schedule import run_in_virtual_time
from sagakeep.validation import parse_definition

NOON = 1_700_000_000.0
SEGMENT_BYTES = 4096
SNAPSHOT_EVERY_BYTES = 7000
NEVER = 1 << 40
DATA = "data"
FORGED_BYTES = 512  # of a payload
_MARK = b"\xf5SGF"


class Sample(NamedTuple):
    """The directory as a kill left it, all of it durable and acknowledged; and copies of it from before."""

    disk: MemoryDisk
    older: list[MemoryDisk]


class Shop:
    """Knows `do`, `undo`, `fail` and `wait`, which never ends; signs its results."""

    def __init__(self, signature: int) -> None:
        self.signature = signature

    async def do(self, call: Call) -> object:
        return {"of": call.step_id, "by": self.signature, "payload": call.payload}

    async def undo(self, call: Call) -> object:
        return {"undone": call.step_id}

    async def fail(self, call: Call) -> object:
        raise ServiceRefused("declined")

    async def wait(self, call: Call) -> object:
        await trio.sleep_forever()


def order(saga_id: str, *actions: str, payload: object = None) -> dict[str, object]:
    """A saga with a step for each action."""
    steps = [
        {
            "id": f"step{index}",
            "service": "shop",
            "action": action,
            "compensation": "undo",
            "payload": payload if payload is not None else {"item": f"{saga_id}-{index}"},
            "timeout": 1_000_000,
        }
        for index, action in enumerate(actions)
    ]
    return {"id": saga_id, "name": "order", "steps": steps, "timeout": 2_000_000}


def make_sample(seed: int = 1, *, archive_behind_bytes: int = NEVER) -> Sample:
    """Run the engine in virtual time; the same seed gives the same bytes."""
    trial = _make(seed, _MARK * (FORGED_BYTES // len(_MARK)), archive_behind_bytes)
    last = max(path for path in trial.disk.paths() if path.endswith(".seg"))
    data = trial.disk.get(last)
    forged = _forged(segment.decode(data, last), data.index(_MARK * 4))
    return _make(seed, forged, archive_behind_bytes)


def _make(seed: int, forged: bytes, archive_behind_bytes: int) -> Sample:
    random = Random(seed)
    stages: list[MemoryDisk] = []
    disk = MemoryDisk()
    for stage in (_first, _second, functools.partial(_third, forged=forged)):
        disk = _run(disk, stage, random, stages, Shop(seed), archive_behind_bytes)
        if stage is not _second:  # killed; the second start stops in good order
            disk = stages[-1].copy()
    *older, last = stages
    return Sample(last, older)


def _run(
    disk: MemoryDisk,
    stage: Callable[[Orchestrator, Callable[[], None]], Awaitable[None]],
    random: Random,
    stages: list[MemoryDisk],
    shop: Shop,
    archive_behind_bytes: int,
) -> MemoryDisk:
    """Run one start of the process to its orderly end; `keep` copies the disk as a kill would leave it."""
    ports = Ports(
        disk,
        wall=lambda: NOON,
        draw=lambda: 0.5,
        run_blocking=in_turn,
        chance=random.randbytes,
        segment_bytes=SEGMENT_BYTES,
        snapshot_every_bytes=SNAPSHOT_EVERY_BYTES,
        archive_behind_bytes=archive_behind_bytes,
    )

    async def main(directory: str) -> None:
        async with open_orchestrator(directory, {"shop": shop}, ports) as sagas:
            await stage(sagas, lambda: stages.append(_moved(disk, directory)))

    with tempfile.TemporaryDirectory() as root:
        directory = f"{root}/data"
        Path(directory).mkdir()
        for path in disk.paths():
            disk.put(path.replace(DATA, directory, 1), disk.get(path))
        run_in_virtual_time(main, directory, seed=1)
        return _moved(disk, directory)


def _moved(disk: MemoryDisk, directory: str) -> MemoryDisk:
    """Copy what is in a directory, under the name that the campaign knows it by."""
    twin = MemoryDisk()
    for path in disk.paths():
        if path.startswith(f"{directory}/"):
            twin.put(path.replace(directory, DATA, 1), disk.get(path))
    return twin


async def _begin(sagas: Orchestrator, saga_id: str, *actions: str, **more: object) -> None:
    await sagas.start(parse_definition(order(saga_id, *actions, **more), sagas.services))
    await trio.sleep(1)


async def _first(sagas: Orchestrator, keep: Callable[[], None]) -> None:
    await _begin(sagas, "done1", "do", "do")
    await _begin(sagas, "undone1", "do", "do", "fail")
    await _begin(sagas, "held1", "fail")
    await _begin(sagas, "live1", "do", "wait")
    keep()


async def _second(sagas: Orchestrator, keep: Callable[[], None]) -> None:
    await _begin(sagas, "refunded2", "do", "do")
    await sagas.compensate("refunded2")
    await _begin(sagas, "live2", "do", "do", "wait", payload={"text": "x" * 700})
    await sagas.retry("held1")
    keep()


async def _third(sagas: Orchestrator, keep: Callable[[], None], *, forged: bytes) -> None:
    for index in range(6):
        await _begin(sagas, f"done3-{index}", "do", "do", payload={"text": "é\n" * 20})
    await sagas.delete("done1")
    await _begin(sagas, "zeros3", "do", payload={"zeros": "\0" * 600})
    await _begin(sagas, "done4", "do", payload={"text": "z" * 900})
    keep()
    definition = parse_definition(order("forged3", "wait"), sagas.services)
    await sagas.start(definition, body_digest=forged)
    await trio.sleep(1)
    keep()


def _forged(last: segment.Segment, offset: int) -> bytes:
    """Frames that are right, in their very place, in all but the salt, which nobody is shown."""
    data = bytes(-offset % frame.ALIGN)
    while True:
        place = frame.Place(0, last.base, last.epoch, len(data))
        piece = frame.encode(b"forged", 1, offset + len(data), place)[0]
        if len(data) + len(piece) > FORGED_BYTES:
            return data.ljust(FORGED_BYTES, b"x")
        data += piece
