"""What services did: an append-only ledger, and the decisions that a service makes by it.

A service is a good one: the work under a key is done once, an undo names the action that it undoes, and an
action that comes after its own undo is not done. What it remembers it reads from its ledger, so it may be
killed, too. What a call comes to is in its payload, `{"then": ...}`:

    "done"       the work is done
    "flaky"      unavailable at the first call under a key, then done
    "later"      as "flaky", and asks for two seconds
    "slow"       done after a while
    "lost"       done, but nobody hears of it the first time
    "vanished"   nothing is done, and nobody hears of that
    "refused"    never done
    "stubborn"   an undo that is refused until an operator asks for it again
    "held"       done, and not answered while there is no file LEDGER.gate
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

DONE = "done"
EFFECTS = frozenset({DONE, "again", "lost"})  # the work is done now
SURE = frozenset({DONE, "again"})  # and the caller is told so
NOTHING = frozenset({"refused", "unavailable", "barred"})  # not done, and the caller is told so


class Deed(msgspec.Struct, frozen=True):
    """One call, as the service saw it and answered it."""

    saga: str
    step: str
    phase: str  # "action" or "compensation"
    key: str
    action_key: str
    attempt: int
    outcome: str
    at_ns: int  # on the clock that all processes share

    @property
    def is_effect(self) -> bool:
        return self.outcome in EFFECTS

    @property
    def is_sure(self) -> bool:
        return self.outcome in SURE


class DeedLedger:
    """A service's ledger. `sync` is for what must outlive a power cut; a kill spares the page cache."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._file = open_lines(path)
        self._visits: dict[str, int] = defaultdict(int)
        self._done: set[str] = set()
        self._undone: set[str] = set()  # keys of actions, whether they had been done or not
        for deed in read_deeds([path]):
            self._remember(deed)

    def call(
        self,
        *,
        saga: str,
        step: str,
        phase: str,
        key: str,
        action_key: str,
        attempt: int,
        then: str,
    ) -> str:
        """Do the work, or do not, and write it down; returns the outcome."""
        outcome = self._decide(phase, key, action_key, then)
        deed = Deed(saga, step, phase, key, action_key, attempt, outcome, time.monotonic_ns())
        os.write(self._file, msgspec.json.encode(deed) + b"\n")
        if self._sync:
            os.fdatasync(self._file)
        self._remember(deed)
        return outcome

    def _decide(self, phase: str, key: str, action_key: str, then: str) -> str:
        is_action = phase == "action"
        if is_action and key in self._undone:
            return "barred"
        if then in ("refused", "vanished"):
            return then
        if then == "stubborn" and key.endswith("/compensation/1"):
            return "refused"
        if key in self._done:
            return "again"
        if then in ("flaky", "later") and not self._visits[key]:
            return "unavailable"
        return "lost" if then == "lost" else DONE

    def _remember(self, deed: Deed) -> None:
        self._visits[deed.key] += 1
        if deed.is_effect:
            self._done.add(deed.key)
            if deed.phase == "compensation":
                self._undone.add(deed.action_key)

    def close(self) -> None:
        os.close(self._file)


def open_lines(path: Path) -> int:
    """Open a file to append lines, without the line that a kill cut short: it was never written."""
    whole = sum(len(line) + 1 for line in read_lines(path))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.ftruncate(fd, whole)
    return fd


def read_lines(path: Path) -> list[bytes]:
    """The whole lines of a file that may be in use."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def read_deeds(paths: Iterable[Path]) -> list[Deed]:
    """Read ledgers as one, in the order of time."""
    decode = msgspec.json.Decoder(Deed).decode
    deeds = [decode(line) for path in paths for line in read_lines(path)]
    return sorted(deeds, key=lambda deed: deed.at_ns)
