"""The commands that copy a data directory: `backup` and `restore`.

What they need is imported when they run, as for all commands.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from sagakeep.definition_commands import JSON_OPTION

if TYPE_CHECKING:
    from sagakeep.offline.until import Until


def _until(_context: click.Context, _option: click.Parameter, value: str | None) -> Until | None:
    from sagakeep.offline.until import parse_until

    try:
        return None if value is None else parse_until(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_UNTIL: Final = click.option(
    "--until",
    metavar="POSITION|TIME",
    callback=_until,
    help="Only what was durable there or then.",
)


@click.command()
@click.argument("destination", metavar="DEST", type=click.Path(file_okay=False))
@click.option(
    "--data", metavar="DIR", type=click.Path(file_okay=False, exists=True), help="What to copy."
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True),
    help="Configuration whose data directory is copied when --data is not given.",
)
@_UNTIL
@JSON_OPTION
def backup(
    destination: str, data: str | None, path: str | None, until: Until | None, as_json: bool
) -> None:
    """Copy the data directory to DEST, verify the copy, and say up to which point it goes.

    The server may run. Where DEST is an earlier backup of the same directory, only what is new is copied. Until
    all is good that backup stays as it is.
    """
    from sagakeep.offline.backup_listing import list_backup
    from sagakeep.settings.sources import load_config

    source = data or load_config(path, os.environ, {}).data
    list_backup(_plain(source), _plain(destination), until, as_json=as_json)


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(file_okay=False, exists=True))
@click.argument("destination", metavar="DEST", type=click.Path(file_okay=False))
@_UNTIL
@JSON_OPTION
def restore(source: str, destination: str, until: Until | None, as_json: bool) -> None:
    """Make the data directory DEST of the backup in SRC, and verify it.

    DEST is a new or an empty directory: nothing is overwritten. A server that is started on it goes on from the
    point that is told; what was called after that point is called again, under the same keys.
    """
    from sagakeep.offline.backup_listing import list_restore

    list_restore(_plain(source), _plain(destination), until, as_json=as_json)


def _plain(directory: str) -> str:
    return directory.rstrip("/") or "/"
