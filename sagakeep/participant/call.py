"""What the headers of a request say: which effect of which saga is wanted, asked about or to be undone.

Idempotency-Key    the call's name for life; a repeated request has the same
Saga-Phase         action (also when absent), compensation or probe
Saga-Action-Key    of a compensation: the key of the action that it undoes
Saga-Step-Outcome  of a compensation: done or unknown, what the orchestrator knows of the action
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, Protocol, cast

KEY_CHARS_MAX: Final = 512  # two ids of 128, the phase and the epoch take less than 300

Phase = Literal["action", "compensation", "probe"]

_OURS: Final = ("idempotency-key", "saga-phase", "saga-action-key", "saga-step-outcome")


class CallInvalid(Exception):
    """The headers do not say which call this is: answer 400. Nothing was looked up or written."""


class HasItems(Protocol):
    """The headers of a framework's request; those of Flask, Django and Starlette are such."""

    def items(self) -> Iterable[tuple[str, str]]: ...


Headers = Mapping[str, str] | HasItems | Iterable[tuple[bytes, bytes]]


class SagaCall(NamedTuple):
    """One call. `action_key` is that of the action that it is about, which of an action is its own.

    `is_known_done`: the orchestrator saw the action succeed, so an undo has something to undo.
    """

    key: str
    phase: Phase
    action_key: str
    is_known_done: bool = False


def read_call(headers: Headers) -> SagaCall:
    """Read the headers of a request, in any case of letters; raises CallInvalid."""
    found = _found(headers)
    key = _key(found, "idempotency-key")
    phase = found.get("saga-phase", "action")
    if phase not in ("action", "compensation", "probe"):
        raise CallInvalid(f"Saga-Phase is {phase[:40]!r}; expected action, compensation or probe")
    is_undo = phase == "compensation"
    action_key = _key(found, "saga-action-key") if is_undo else key
    if is_undo and action_key == key:
        raise CallInvalid("Saga-Action-Key is the compensation's own Idempotency-Key")
    is_known_done = is_undo and found.get("saga-step-outcome") == "done"
    return SagaCall(key, cast(Phase, phase), action_key, is_known_done)


def is_call(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a request says anything of a key or a saga; if not, it is none of ours."""
    return any(
        name.lower() == b"idempotency-key" or name.lower().startswith(b"saga-")
        for name, _ in headers
    )


def _found(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers.items() if hasattr(headers, "items") else headers:
        word = _text(name).lower()
        if word in _OURS:
            if word in found:
                raise CallInvalid(f"{_title(word)} is there twice")
            found[word] = _text(value).strip()
    return found


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))


def _key(found: Mapping[str, str], name: str) -> str:
    key = found.get(name, "")
    if not key:
        raise CallInvalid(f"{_title(name)} is missing")
    if len(key) > KEY_CHARS_MAX:
        raise CallInvalid(f"{_title(name)} has {len(key)} characters; at most {KEY_CHARS_MAX}")
    if not key.isascii() or not key.isprintable():
        raise CallInvalid(f"{_title(name)} holds a character that is not printable ASCII")
    return key
