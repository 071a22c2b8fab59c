"""What `sagakeep grade` is told: the words of its command line, to a target."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from sagakeep.errors import ConfigurationError
from sagakeep.grade.exam import Finding, Report, Verdict, examine
from sagakeep.grade.subject import Target

NAME_CHARS_MAX: Final = 128


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options, as they are typed."""

    url: str
    action: str
    compensation: str
    probe: str
    payload: str
    compensation_payload: str | None
    headers: tuple[str, ...]
    duplicates: int
    ledger_url: str
    timeout: float


def read_target(options: Mapping[str, object]) -> Target:
    """Read the options. Raises ConfigurationError."""
    words = msgspec.convert(dict(options), Words)
    for name in (words.action, words.compensation, words.probe):
        _check_name(name)
    undo = words.compensation_payload
    return Target(
        url=words.url,
        action=words.action,
        compensation=words.compensation,
        probe=words.probe,
        payload=_json(words.payload, "--payload"),
        compensation_payload=msgspec.UNSET
        if undo is None
        else _json(undo, "--compensation-payload"),
        headers=dict(_header(line) for line in words.headers),
        duplicates=words.duplicates,
        timeout_s=words.timeout,
    )


async def run_exam(target: Target, ledger_url: str, within_s: float) -> Report:
    """Run the exam; on a terminal it is told how far it is. Raises CannotGrade, ConfigurationError."""
    is_watched = sys.stderr.isatty()
    announce = _say if is_watched else _say_nothing
    return await examine(target, ledger_url=ledger_url, within_s=within_s, announce=announce)


def _say(finding: Finding) -> None:
    mark = {Verdict.PASSED: "ok", Verdict.FAILED: "FAILED"}.get(finding.verdict, "-")
    print(f"{finding.check.code} {mark}", file=sys.stderr, flush=True)


def _say_nothing(_: Finding) -> None:
    pass


def _check_name(name: str) -> None:
    if not name.isprintable() or len(name) > NAME_CHARS_MAX:
        raise ConfigurationError(f"{name!r:.60} is no name of a call")


def _json(text: str, option: str) -> object:
    """Read JSON, or the JSON in the file that `@FILE` names."""
    try:
        data = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        value: object = msgspec.json.decode(data)
        return value
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{option}: {error}") from None


def _header(line: str) -> tuple[str, str]:
    """Split it; its value may be a secret, so no complaint holds it."""
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError("--header: want NAME: VALUE")
    return name.strip(), value.strip()
