"""A plan of a bulk: which move of which sagas was looked at, and when; as a token that the wish is sent with.

The token ties the wish to what was shown: it is of the same move, filter and body, is good for a quarter of an
hour, and leaves alone what was begun after it. It is no secret and needs none: whoever may move sagas may also
plan.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from sagakeep import limits
from sagakeep.errors import PlanRefused

_TOKEN: Final = re.compile(r"(\d{1,17})-([0-9a-f]{32})", re.ASCII)
_DIGEST_CHARS: Final = 32


def token_of(wish: object, now_utc_s: float) -> str:
    """The token of a wish (its move, filter and body, as JSON-like data) that is planned now."""
    return f"{round(now_utc_s * 1e6)}-{_digest(wish)}"


def planned_utc_s(token: str, wish: object, now_utc_s: float) -> float:
    """When the wish was planned. Raises PlanRefused for another wish's token, and one that is too old."""
    match = _TOKEN.fullmatch(token)
    if match is None or match[2] != _digest(wish):
        raise PlanRefused("the token is of another plan: plan this move, filter and body first")
    at_utc_s = int(match[1]) / 1e6
    if not now_utc_s - limits.BULK_PLAN_S_MAX <= at_utc_s <= now_utc_s:
        raise PlanRefused(f"the plan is older than {limits.BULK_PLAN_S_MAX:g} s: look again")
    return at_utc_s


def _digest(wish: object) -> str:
    data = msgspec.json.encode(wish, order="sorted")
    return hashlib.sha256(data).hexdigest()[:_DIGEST_CHARS]
