"""Complaints: what an error of operation means to the person at the terminal, in three parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sagakeep.errors import (
    AccessRefused,
    BackupRefused,
    ConfigurationError,
    DiskFull,
    JournalBroken,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    MoveNotAllowed,
    NoSuchThing,
    RequestRefused,
    SagakeepError,
    SagaNotFound,
    ServerBusy,
    ServerUnreachable,
)


class Complaint(NamedTuple):
    """What happened, why, and what to do about it."""

    what: str
    why: str
    remedy: str

    def __str__(self) -> str:
        why = self.why.replace("\n", "\n  ")
        return f"{self.what}\n  {why}\n  {self.remedy}"


_WORDS: Final[dict[type[BaseException], tuple[str, str]]] = {
    ConfigurationError: (
        "the configuration cannot be used",
        "mend it and start again; `sagakeep config show` tells where each value comes from",
    ),
    JournalLocked: (
        "another process holds the data directory",
        "a second server needs a directory of its own: --data DIR",
    ),
    JournalCorrupt: (
        "the journal is damaged",
        "nothing was changed; restore the directory from a copy; `sagakeep verify` says what else can be done",
    ),
    DiskFull: ("the disk is full", "free some space and start again; nothing is lost"),
    JournalBroken: (
        "the journal could not be written, so the process ends",
        "look after the disk and start again; nothing that was acknowledged is lost",
    ),
    BackupRefused: (
        "the backup cannot be made, or not be used",
        "what was there before is as it was",
    ),
    JournalError: ("the data directory cannot be used", "look at its path, owner and disk"),
    SagaNotFound: ("there is no such saga", "`sagakeep events DIR` without an id prints all"),
    ServerUnreachable: (
        "the server cannot be reached",
        "is it running? `sagakeep serve` starts one; --url or SAGAKEEP_URL says where it is",
    ),
    AccessRefused: (
        "the server does not allow that",
        "give it a key with --token-file or SAGAKEEP_TOKEN; `sagakeep key new` makes one",
    ),
    NoSuchThing: ("the server has nothing of that name", "`sagakeep ls` lists the sagas"),
    MoveNotAllowed: (
        "the saga does not allow that now",
        "nothing was changed; `sagakeep explain ID` says what it waits for and what may be done",
    ),
    ServerBusy: (
        "the server takes nothing for now",
        "try again; `sagakeep doctor` says what is wrong with it",
    ),
    RequestRefused: ("the server refuses that", "mend what it names and send it again"),
    SagakeepError: ("that did not work", "the log says more"),
    OSError: ("the system refused", "look at the path, its owner and the disk"),
}


def complaint_of(error: BaseException) -> Complaint | None:
    """Put an error into words; None for one that is no error of operation, but a bug.

    Of a group the most telling counts: what else is in it came of the same.
    """
    leaves = list(_leaves(error))
    for kind, (what, remedy) in _WORDS.items():
        for leaf in leaves:
            if isinstance(leaf, kind):
                return Complaint(what, str(leaf), remedy)
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
