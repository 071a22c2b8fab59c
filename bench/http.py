"""http: a real server over loopback sockets, beside a bare one and beside the floor.

Three things are measured, by turns:

    POST of one saga    the same client against Hypercorn + Starlette with nothing behind them; what the sagas
                        still have to do when the last is answered belongs to the product's turn
    POST of a batch     until all its sagas have ended, beside the engine's floor, in this process
    latency             of each operation while 10,000 sagas wait, beside a background of POSTs: a quarter of
                        what the server can take
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

import trio

from bench.benchmark import Numbers, Progress, Scale, spread_ms, work_directory
from bench.connection import open_connections
from bench.floor import run_floor
from bench.load import (
    park_sagas,
    post_at_pace,
    post_batches,
    post_sagas,
    seconds_of,
    time_operations,
)
from bench.processes import Running, cpu_s, open_python
from bench.server import do_at_loop, finished, open_sagakeep, wait_finished

SCALE: Final = Scale(10_000)  # that wait, as many POSTs, and as many in batches
TURNS: Final = 5
CONNECTIONS: Final = 32
BATCH_CONNECTIONS: Final = 4
FLOOR_IN_FLIGHT: Final = 1_000
OPERATIONS_MAX: Final = 1_000  # of each kind whose latency is measured
BACKGROUND_SHARE: Final = 0.25
BACKGROUND_CONNECTIONS: Final = 8


class Seconds(NamedTuple):
    """What the product took, how much of it until the last answer, and what its bound took; and of CPU."""

    product: float
    answered: float
    bound: float
    product_cpu: float
    bound_cpu: float


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Measure all three at `scale.sagas` each; raises when an answer is not what it must be."""
    turn = scale.sagas // TURNS
    sagas = turn * TURNS
    operations = min(OPERATIONS_MAX, sagas)
    progress.expect(5 * sagas + turn + operations)
    with work_directory() as directory:
        async with open_sagakeep(directory) as server:
            async with open_python("-m", "bench.bare_server") as bare:
                singles = await measure_singles(bare, server, turn, progress)
            batches = await measure_batches(server, f"{directory}/floor", turn, progress)
            pace = BACKGROUND_SHARE * sagas / singles.product
            beside = await measure_beside_waiting(server, sagas, operations, pace, progress)
    return {
        "sagas": sagas,
        "connections": CONNECTIONS,
        "posts_per_second": round(sagas / singles.product, 1),
        "bare_posts_per_second": round(sagas / singles.bound, 1),
        "ratio": round(singles.bound / singles.product, 3),
        "answered_ratio": round(singles.bound / singles.answered, 3),
        "cpu_us_per_post": round(singles.product_cpu / sagas * 1e6),
        "bare_cpu_us_per_post": round(singles.bound_cpu / sagas * 1e6),
        "batch_sagas_per_second": round(sagas / batches.product, 1),
        "batch_answered_per_second": round(sagas / batches.answered, 1),
        "floor_sagas_per_second": round(sagas / batches.bound, 1),
        "batch_ratio": round(batches.bound / batches.product, 3),
        "cpu_us_per_batch_saga": round(batches.product_cpu / sagas * 1e6),
        **beside,
    }


async def measure_singles(bare: Running, server: Running, turn: int, progress: Progress) -> Seconds:
    """POST one saga after the other on each of CONNECTIONS, first to the bare server, then to the product."""
    answered_s = rest_s = bare_s = 0.0
    bare_cpu_s, product_cpu_s = cpu_s(bare.pid), cpu_s(server.pid)
    async with (
        open_connections(bare.port, CONNECTIONS) as to_bare,
        open_connections(server.port, CONNECTIONS) as to_product,
    ):
        for turns in range(1, TURNS + 1):
            bare_s += await seconds_of(post_sagas(to_bare, turn, progress))
            answered_s += await seconds_of(post_sagas(to_product, turn, progress))
            rest_s += await seconds_of(wait_finished(to_product[0], turns * turn))
    product_cpu_s, bare_cpu_s = cpu_s(server.pid) - product_cpu_s, cpu_s(bare.pid) - bare_cpu_s
    return Seconds(answered_s + rest_s, answered_s, bare_s, product_cpu_s, bare_cpu_s)


async def measure_batches(
    server: Running, floor_path: str, turn: int, progress: Progress
) -> Seconds:
    """POST batches of sagas until all have ended, by turns with the floor."""
    answered_s = rest_s = floor_s = floor_cpu_s = 0.0
    product_cpu_s = cpu_s(server.pid)
    async with open_connections(server.port, BATCH_CONNECTIONS) as connections:
        before = await finished(connections[0])
        for turns in range(1, TURNS + 1):
            floor_cpu_s -= time.process_time()
            floor_s += await run_floor(floor_path, turn, FLOOR_IN_FLIGHT, progress)
            floor_cpu_s += time.process_time()
            answered_s += await seconds_of(post_batches(connections, turn, progress))
            rest_s += await seconds_of(wait_finished(connections[0], before + turns * turn))
    product_cpu_s = cpu_s(server.pid) - product_cpu_s
    return Seconds(answered_s + rest_s, answered_s, floor_s, product_cpu_s, floor_cpu_s)


async def measure_beside_waiting(
    server: Running, waiting: int, operations: int, pace: float, progress: Progress
) -> Numbers:
    """What the loop's steps and the operations take while so many sagas wait.

    The loop is watched in a turn of its own, under POSTs at full speed.
    """
    async with open_connections(server.port, BACKGROUND_CONNECTIONS + 1) as connections:
        first, *others = connections
        ids = await park_sagas(others[:BATCH_CONNECTIONS], waiting, progress)
        await do_at_loop(first, "watch")
        await post_sagas(others, waiting // TURNS, progress)
        steps = await do_at_loop(first, "report")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post_at_pace, others, pace)
            seconds = await time_operations(first, ids[:operations], progress)
            nursery.cancel_scope.cancel()
    return {
        "waiting_sagas": waiting,
        "background_posts_per_second": round(pace, 1),
        "latency_ms": {name: spread_ms(times) for name, times in seconds.items()},
        **steps,
    }
