"""What a client asked for and what it was told, in a ledger of its own: one line before each wish, one after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from blackbox.deeds import open_lines, read_lines

OPEN = ""  # asked, and no answer yet: a kill may have come between


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A wish, or its answer: `answer` is OPEN, "yes", or why not; `saga` the id once it is known."""

    order: str
    verb: str  # create, compensate, retry, delete
    number: int  # of the wish
    saga: str = ""
    answer: str = OPEN
    at_ns: int = 0


class WishLedger:
    """A client's ledger; the next life of the client goes on from what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wishes: dict[int, Wish] = {wish.number: wish for wish in read_wishes(path)}
        self._file = open_lines(path)

    def ask(self, order: str, verb: str, saga: str = "") -> Wish:
        """Write down what will be asked; first, so that nothing is asked that is not known."""
        number = max(self.wishes, default=0) + 1
        return self._write(Wish(order=order, verb=verb, number=number, saga=saga))

    def answer(self, wish: Wish, answer: str, saga: str = "") -> Wish:
        """Write down what was told."""
        saga = saga or wish.saga
        if wish.saga and saga != wish.saga:
            answer = f"another saga: {saga}"
            saga = wish.saga
        return self._write(msgspec.structs.replace(wish, answer=answer, saga=saga))

    def open_creates(self) -> list[Wish]:
        """What was posted and not answered: a client posts it again, under the same key."""
        return [w for w in self.wishes.values() if w.verb == "create" and w.answer == OPEN]

    def known(self) -> list[Wish]:
        """The creates of sagas that exist as far as the client knows: nobody asked to delete them."""
        gone = self.deleted()
        return [w for w in self.wishes.values() if is_told(w) and w.order not in gone]

    def deleted(self) -> set[str]:
        """The orders that somebody asked to delete."""
        return {wish.order for wish in self.wishes.values() if wish.verb == "delete"}

    def _write(self, wish: Wish) -> Wish:
        wish = msgspec.structs.replace(wish, at_ns=time.monotonic_ns())
        os.write(self._file, msgspec.json.encode(wish) + b"\n")
        self.wishes[wish.number] = wish
        return wish

    def close(self) -> None:
        os.close(self._file)


def is_told(wish: Wish) -> bool:
    """Is it a create that was acknowledged?"""
    return wish.verb == "create" and wish.answer == "yes"


def read_wishes(path: Path) -> Iterator[Wish]:
    """Every line, in order; of one number the last holds."""
    decode = msgspec.json.Decoder(Wish).decode
    return map(decode, read_lines(path))


def last_words(path: Path) -> dict[int, Wish]:
    """Each wish as its last line says."""
    return {wish.number: wish for wish in read_wishes(path)}
