"""The ledger of the service under test, where it shows one: how many effects there are, as seen from outside.

`GET` of its URL answers with JSON: `{"actions": 3, "undos": 1}`, the number of effects of actions and of undos
that were ever made; or only a number, that of the actions. Nobody else may use the service meanwhile.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

import trio

from sagakeep.errors import ConfigurationError

BYTES_MAX: Final = 64 << 10


class LedgerUnreadable(Exception):
    """The ledger's URL gave no counts: the exam cannot go on with it."""


class Effects(NamedTuple):
    """How many effects there are; `undos` is None where the ledger does not count them."""

    actions: int = 0
    undos: int | None = 0

    def since(self, before: Effects) -> Effects:
        undos = None if self.undos is None else self.undos - (before.undos or 0)
        return Effects(self.actions - before.actions, undos)

    def __str__(self) -> str:
        text = f"{self.actions} of the action"
        return text if self.undos is None else f"{text}, {self.undos} of the undo"

    def fits(self, actions: int, undos: int) -> bool:
        return self.actions == actions and self.undos in (None, undos)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the headers are not for somebody else."""

    def redirect_request(self, *_: object) -> None:
        return None


class Ledger:
    """Raises ConfigurationError for a URL that is none."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"ledger url {url!r}: want http://HOST or https://HOST")
        self._request = urllib.request.Request(url, headers=dict(headers))
        self._timeout_s = timeout_s
        no_proxy = urllib.request.ProxyHandler({})
        self._opener = urllib.request.build_opener(no_proxy, _NoRedirect())

    async def effects(self) -> Effects:
        """Count. Raises LedgerUnreadable."""
        return await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)

    def _read(self) -> Effects:
        try:
            with self._opener.open(self._request, timeout=self._timeout_s) as reply:
                document: object = json.loads(reply.read(BYTES_MAX))
        except HTTPError as error:
            error.close()
            raise LedgerUnreadable(f"the ledger did not say its counts: {error}") from None
        except (OSError, ValueError) as error:
            raise LedgerUnreadable(f"the ledger did not say its counts: {error}") from None
        return _effects_of(document)


def _effects_of(document: object) -> Effects:
    match document:
        case bool():
            pass
        case int(actions):
            return Effects(actions, None)
        case {"actions": int(actions), "undos": int(undos)}:
            return Effects(actions, undos)
        case {"actions": int(actions)}:
            return Effects(actions, None)
    raise LedgerUnreadable(
        f'the ledger answered {json.dumps(document)[:100]}; expected {{"actions": n, "undos": m}} or a number'
    )
