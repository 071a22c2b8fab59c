"""The sagas of the benches on DBOS: run by the interpreter of an environment that has it.

python bench/peers/dbos_sagas.py DATABASE_URL SAGAS IN_FLIGHT        prints one JSON object

A workflow of two steps in the same process; one in ten is refused at the second, and its first is undone by one
step more. All as its documentation does it, with what it does by default.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from dbos import DBOS, DBOSConfig


async def nothing(payload: dict[str, object]) -> None:
    return None


async def refuse(payload: dict[str, object]) -> None:
    raise ValueError("as asked")


async def order(is_refused: bool, payload: dict[str, object]) -> str:
    await DBOS.run_step_async({"name": "reserve"}, nothing, payload)
    try:
        await DBOS.run_step_async({"name": "charge"}, refuse if is_refused else nothing, payload)
    except ValueError:
        await DBOS.run_step_async({"name": "undo"}, nothing, payload)
        return "compensated"
    return "completed"


async def run(sagas: int, in_flight: int) -> None:
    workflow = DBOS.workflow()(order)
    DBOS.launch()
    ends = {"completed": 0, "compensated": 0}
    numbers = iter(range(sagas))

    async def client() -> None:
        for number in numbers:
            payload = {"quantity": 2, "productId": "prod_123"}
            handle = await DBOS.start_workflow_async(workflow, number % 10 == 0, payload)
            ends[await handle.get_result()] += 1

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    print(json.dumps({"seconds": time.perf_counter() - began_s, "ends": ends}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": sys.argv[1],
        "log_level": "ERROR",
    }
    DBOS(config=config)
    asyncio.run(run(int(sys.argv[2]), int(sys.argv[3])))
