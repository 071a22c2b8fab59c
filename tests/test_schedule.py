"""Virtual time: the seed decides the order of tasks, and the clock jumps."""

from __future__ import annotations

import time

import pytest
import trio

from sagakeep.simulation.schedule import run_in_virtual_time


def trace_of(seed: int) -> str:
    """The order in which nine tasks, three for each of three equal deadlines, go on."""
    trace: list[str] = []

    async def main() -> None:
        async def task(name: str) -> None:
            for wait_s in (1, 1, 0):
                await trio.sleep(wait_s)
                trace.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abcdefghi":
                nursery.start_soon(task, name)

    run_in_virtual_time(main, seed=seed)
    return "".join(trace)


def test_the_same_seed_gives_the_same_order() -> None:
    assert trace_of(7) == trace_of(7)


def test_another_seed_gives_another_order() -> None:
    assert len({trace_of(seed) for seed in range(20)}) == 20


def test_time_is_not_waited_for() -> None:
    began_s = time.monotonic()
    run_in_virtual_time(trio.sleep, 1_000_000, seed=0)
    assert time.monotonic() - began_s < 100


def test_what_is_returned_is_returned() -> None:
    async def main(word: str) -> str:
        return word

    assert run_in_virtual_time(main, "done", seed=0) == "done"


@pytest.mark.parametrize("was", [False, True])
def test_what_trio_was_told_before_is_told_again(
    was: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", was)
    run_in_virtual_time(trio.sleep, 0, seed=0)
    assert trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING is was
