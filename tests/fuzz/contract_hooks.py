"""What schemathesis is told of this API: loaded into its process by name, it is no part of ours.

A generated saga names services and steps that do not exist, and a generated id is of no saga; so nearly all
would be refused at the first look. Some bodies are mended here and some ids replaced by real ones, so that the
rest of the server is reached, too. And sagas are kept small: to make one of 200 steps takes seconds.

At the end the count of replies by status is written where FUZZ_COUNTS says.
"""

from __future__ import annotations

import atexit
import json
import os
import random
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final, cast  # Any: of schemathesis

import schemathesis
from schemathesis import Case, HookContext, Response

from fuzz.service import ACTIONS, SERVICES

MENDED: Final = 0.7  # of all bodies, and of all ids
IDS_KEPT: Final = 200
MEMBERS_MAX: Final = 3

_chance: Final = random.Random(os.environ.get("FUZZ_SEED", "0"))
_ids: Final[deque[str]] = deque(maxlen=IDS_KEPT)
_counts: Final[Counter[int]] = Counter()


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Let no generated array or object have more than a few members."""
    todo: list[object] = [raw_schema["components"]["schemas"], raw_schema["paths"]]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            for name in ("maxItems", "maxProperties"):
                if isinstance(one.get(name), int):
                    one[name] = min(one[name], MEMBERS_MAX)
            todo += one.values()
        elif isinstance(one, list):
            todo += one


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Mend a saga, or an id, now and then."""
    if _chance.random() > MENDED:
        return
    if _ids and "{id}" in case.path and case.path_parameters:
        case.path_parameters["id"] = _chance.choice(_ids)
    body = cast("object", case.body)
    for one in body if isinstance(body, list) else [body]:
        if isinstance(one, dict) and isinstance(one.get("steps"), list):
            _mend(one)


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Count the reply, and remember the saga that was created."""
    _counts[response.status_code] += 1
    if response.status_code == 201:
        _ids.append(str(response.json()["id"]))


def _mend(saga: dict[str, object]) -> None:
    """Give the steps ids of their own, and services and actions that exist."""
    steps = [one for one in cast("list[object]", saga["steps"]) if isinstance(one, dict)]
    if len({str(step.get("id")) for step in steps}) < len(steps):
        for at, step in enumerate(steps):
            step["id"] = f"s{at}"
    for step in steps:
        step["service"] = _chance.choice(SERVICES)
        step["action"] = _chance.choice(ACTIONS)
        for name in ("dependsOn", "kind", "inDoubt", "probe"):
            step.pop(name, None)
        step["maxRetries"] = 0  # so that it ends at once, and a stream of its events, too
        step["compensationMaxRetries"] = 0


@atexit.register
def _write_counts() -> None:
    if path := os.environ.get("FUZZ_COUNTS"):
        Path(path).write_text(json.dumps(_counts))
