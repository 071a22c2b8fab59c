"""The commands that look at a definition in a file: `check` and `prove`.

What they need is imported when they run, as for all commands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

import click

from sagakeep.errors import BrokenFile

if TYPE_CHECKING:
    from sagakeep.definition_file import DefinitionFile

JSON_OPTION: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)


@click.command()
@click.argument("file", type=click.File("rb"))
@JSON_OPTION
def check(file: IO[bytes], as_json: bool) -> None:
    """Review the saga definition in FILE; - is the standard input.

    Prints what a careful reviewer would say, with a reason and a fix each, and what the saga takes at worst.
    Exit code 0: nothing to say; 1: findings; 2: the file is broken. docs/findings.md explains every code.
    """
    from sagakeep.findings.listing import list_findings

    if list_findings(_definition_in(file, as_json), as_json=as_json):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--services",
    type=click.File("rb"),
    help="What the services promise, in TOML or JSON.  [default: what each should]",
)
@click.option("--expect", default="", metavar="END,...", help="Ends that some world must reach.")
@click.option("--never", default="", metavar="END,...", help="Ends that no world may have.")
@click.option("--all", "everything", is_flag=True, help="Play every world, however long it takes.")
@click.option(
    "--replay", default="", metavar="WORLD", help="Play one world again, or one in a file."
)
@JSON_OPTION
def prove(
    file: IO[bytes],
    services: IO[bytes] | None,
    expect: str,
    never: str,
    everything: bool,
    replay: str,
    as_json: bool,
) -> None:
    """Play the saga in FILE in many worlds, in each of which something fails.

    The engine is the real one; services, disk and time are simulated. Exit code 0: every world holds; 1: some do
    not; 2: a file is broken. docs/prove.md says what is proved and what is not.
    """
    from sagakeep.proof.command import ProofCommand

    definition = _definition_in(file, as_json)
    with _telling_faults(as_json):
        command = ProofCommand(definition, services, expect, never)
    holds = command.replay(replay, as_json) if replay else command.prove(everything, as_json)
    if not holds:
        raise click.exceptions.Exit(1)


def _definition_in(file: IO[bytes], as_json: bool) -> DefinitionFile:
    from sagakeep.definition_file import DefinitionFile
    from sagakeep.limits import BODY_BYTES_MAX

    with _telling_faults(as_json):
        return DefinitionFile(getattr(file, "name", "<stdin>"), file.read(BODY_BYTES_MAX + 1))


@contextmanager
def _telling_faults(as_json: bool) -> Iterator[None]:
    """Tell programs what is wrong with a file, before people are."""
    try:
        yield
    except BrokenFile as error:
        if as_json:
            click.echo(json.dumps({"errors": [fault._asdict() for fault in error.faults]}))
        raise
