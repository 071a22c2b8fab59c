"""The command `prove`: reads what is to be proved, plays it, and prints what came of it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import IO, Final

import click
import msgspec

from sagakeep import limits
from sagakeep.definition_file import DefinitionFile
from sagakeep.proof.listing import print_proof, print_replay, proof_document
from sagakeep.proof.promises import ENDS, Promises, read_promises
from sagakeep.proof.proof import Prover
from sagakeep.proof.scenario import BadReplay, parse_scenario
from sagakeep.saga_status import SagaStatus

_BACK: Final = "\r\x1b[K"  # to the beginning of the line, which is emptied


class ProofCommand:
    """One saga and what its services promise; `expect` and `never` are ends, parted by commas."""

    def __init__(
        self, file: DefinitionFile, services: IO[bytes] | None, expect: str, never: str
    ) -> None:
        """Raises BrokenFile, or BadParameter for what is no end of a saga."""
        self._file = file
        self._definition = file.definition
        self._services = services
        promises = self._read(services)
        if expect:
            promises = msgspec.structs.replace(promises, expect=_ends(expect, "--expect"))
        if never:
            promises = msgspec.structs.replace(promises, never=_ends(never, "--never"))
        self._promises = promises

    def prove(self, everything: bool, as_json: bool) -> bool:
        """Play the worlds and print the proof; tell whether all hold."""
        counter = _Counter()
        proof = Prover(
            self._definition, self._promises, everything=everything, progress=counter.add
        ).prove()
        counter.clear()
        if as_json:
            document = proof_document(self._definition, proof)
            click.echo(msgspec.json.encode(document).decode())
        else:
            print_proof(self._file.name, self._definition, proof, self._command())
        return not proof.failures and not proof.unreached

    def replay(self, text: str, as_json: bool) -> bool:
        """Play one world and print all of it; tell whether it holds."""
        try:
            scenario = parse_scenario(_scenario_in(text), self._definition)
            played, broken = Prover(self._definition, self._promises).replay(scenario)
        except BadReplay as error:
            raise click.BadParameter(str(error), param_hint="--replay") from None
        print_replay(self._definition, played, broken, as_json=as_json)
        return not broken

    def _read(self, services: IO[bytes] | None) -> Promises:
        if services is None:
            return Promises()
        known = frozenset([step.service for step in self._definition.steps])
        body = services.read(limits.BODY_BYTES_MAX)
        return read_promises(_name_of(services), body, known)

    def _command(self) -> str:
        """What replays a world, up to its scenario."""
        words = ["sagakeep", "prove", _argument(self._file.name)]
        if self._services is not None:
            words += ["--services", _argument(_name_of(self._services))]
        return f"{shlex.join(words)} --replay"


def _name_of(file: IO[bytes]) -> str:
    return str(getattr(file, "name", "<stdin>"))


def _argument(name: str) -> str:
    return "-" if name == "<stdin>" else name


def _ends(text: str, option: str) -> tuple[SagaStatus, ...]:
    ends = [one.strip() for one in text.split(",")]
    for end in ends:
        if end not in ENDS:
            allowed = ", ".join(ENDS)
            raise click.BadParameter(f"{end!r}: a saga ends as one of {allowed}", param_hint=option)
    return tuple(map(SagaStatus, ends))


def _scenario_in(text: str) -> str:
    """The scenario that is given itself, or in a file, or in the `replay` of a failed world there."""
    if not os.path.isfile(text):
        return text
    with open(text, encoding="utf-8", errors="replace") as file:
        content = file.read(limits.BODY_BYTES_MAX).strip()
    if not content.startswith("{"):
        return content
    try:
        match json.loads(content):
            case {"replay": str(replay)}:
                return replay
    except ValueError as error:
        raise BadReplay(f"{text}: {error}") from None
    raise BadReplay(f'{text}: expected a scenario, or an object with a "replay"')


class _Counter:
    """Counts worlds on the terminal, where there is one."""

    def __init__(self) -> None:
        self._worlds = 0
        self._is_shown = sys.stderr.isatty()

    def add(self, worlds: int) -> None:
        self._worlds += worlds
        if self._is_shown:
            click.echo(f"{_BACK}{self._worlds:,} worlds", nl=False, err=True)

    def clear(self) -> None:
        if self._is_shown:
            click.echo(_BACK, nl=False, err=True)
