"""A pause of a service: who let nobody call it any more, since when and why; and the note that keeps all of them.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import msgspec


class ServicePause(msgspec.Struct, frozen=True):
    """An operator lets no call of a service begin, since a time."""

    since_utc_s: float
    by: str = ""
    note: str = ""

    def words(self, since: str) -> str:
        """`paused since ... by ada: the warehouse moves`; `since` is the time as it is shown."""
        who = f" by {self.by}" if self.by else ""
        return f"paused since {since}{who}" + (f": {self.note}" if self.note else "")


Pauses = Mapping[str, ServicePause]

_DECODER: Final = msgspec.json.Decoder(dict[str, ServicePause])


def pauses_text(pauses: Pauses) -> str:
    """All pauses by the name of the service, as one line of ASCII."""
    return json.dumps(msgspec.to_builtins(pauses), sort_keys=True) + "\n"


def pauses_in(text: str) -> dict[str, ServicePause]:
    """The inverse of `pauses_text`. Raises ValueError."""
    return _DECODER.decode(text)
