"""The command line. Exit codes: 0, 1 for a failure, 2 for wrong usage or a file that is broken.

What a command needs is imported when it runs, so that `--help` and `--version` are quick, and so that the
bounds of the configuration are set before the modules that are bounded by them are imported.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from sagakeep.backup_commands import backup, restore
from sagakeep.commands import (
    analytics,
    bulk,
    demo,
    doctor,
    events,
    export,
    move,
    service,
    show,
    submit,
    top,
    watch,
)
from sagakeep.complaint import Complaint, complaint_of
from sagakeep.definition_commands import JSON_OPTION, check, prove
from sagakeep.errors import BrokenFile, ConfigurationError, SagakeepError

_DIRECTORY: Final = click.Path(file_okay=False, exists=True)
_CONFIG: Final = click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True),
    help="Configuration in TOML; SAGAKEEP_CONFIG names one, too.",
)


class _Failed(click.ClickException):
    """An error of operation, told in three parts."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(str(complaint))


class _Broken(click.ClickException):
    """A file that is not what it should be: every fault with its place."""

    exit_code = 2

    def __init__(self, error: BrokenFile) -> None:
        count = f"{len(error.faults)} faults" if len(error.faults) > 1 else "1 fault"
        super().__init__(f"{error.name} cannot be used: {count}")
        self._error = error

    def format_message(self) -> str:
        return "\n".join([self.message, *(self._line(*fault) for fault in self._error.faults)])

    def _line(self, pointer: str, detail: str, line: int, column: int) -> str:
        from sagakeep.logs import escaped

        place = f":{line}:{column}" if line else ""
        what = f"{pointer} {detail}" if pointer else detail
        return f"  {self._error.name}{place}: {escaped(what)}"


class _Commands(click.Group):
    """Commands whose errors of operation are told without a trace."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenFile as error:
            raise _Broken(error) from error
        except (SagakeepError, ExceptionGroup, OSError) as error:
            complaint = complaint_of(error)
            if complaint is None or isinstance(error, BrokenPipeError):
                raise
            raise _Failed(complaint) from error


def _bind(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from sagakeep.bind import parse_bind

    try:
        return value if value is None or parse_bind(value) else None
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None


def _show_version(context: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    from importlib.metadata import PackageNotFoundError, version

    if is_wanted:
        try:
            click.echo(f"sagakeep {version('sagakeep')}")
        except PackageNotFoundError:
            click.echo("sagakeep, from a checkout that is not installed")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Run sagas: all of it or none of it, across services."""


@main.command()
@_CONFIG
@click.option("--data", metavar="DIR", help="Directory of the journal.")
@click.option("--bind", metavar="HOST:PORT", callback=_bind, help="Where to listen; or unix:PATH.")
@click.option("--demo", is_flag=True, help="Serve inventory, payment and shipping in this process.")
def serve(path: str | None, data: str | None, bind: str | None, demo: bool) -> None:
    """Run the server until SIGTERM."""
    from sagakeep.logs import configure_logs
    from sagakeep.settings.config import use_limits
    from sagakeep.settings.sources import load_config

    given = {"data": data, "bind": bind}
    flags = {key: value for key, value in given.items() if value is not None}
    config = load_config(path, os.environ, flags)
    configure_logs(config.log)
    use_limits(config.limits)

    import trio

    from sagakeep.serve import serve as serve_config

    async def run() -> None:
        await serve_config(config, demo=demo, announce=_announce)

    trio.run(run)


def _announce(line: str) -> None:
    """Print the line for whoever waits for it; that nobody reads it is no reason to end."""
    try:
        click.echo(line)
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


@main.command()
@click.argument("directory", type=_DIRECTORY)
@JSON_OPTION
@click.pass_context
def verify(context: click.Context, directory: str, as_json: bool) -> None:
    """Check every frame, record and saga of the journal in DIRECTORY.

    The directory may be in use. Exits with 1, and says where and what to do, when something is wrong.
    """
    from sagakeep.offline.verify_listing import list_verification

    context.exit(0 if list_verification(directory, as_json=as_json) else 1)


@main.command()
@click.argument("directory", type=_DIRECTORY)
@click.option(
    "--truncate-after",
    "position",
    type=click.IntRange(min=0),
    metavar="POSITION",
    help="Let the journal end at POSITION, which `verify` tells.",
)
@click.option(
    "--quarantine-saga",
    "saga_ids",
    multiple=True,
    metavar="ID",
    help="Take all records of this saga out; may be given more than once.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done and lost; the default.")
@click.option("--yes", is_flag=True, help="Do it.")
@JSON_OPTION
@click.pass_context
def repair(
    context: click.Context,
    directory: str,
    position: int | None,
    saga_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Give up what is damaged in the journal in DIRECTORY, so that the rest can be used.

    Without --yes it changes nothing and says what would be lost. Without an option it does what costs nothing: it
    puts single wrong bits back and sets snapshots aside that are damaged or contradict the journal. The original
    bytes are kept in DIRECTORY/quarantine. No server may run on the directory.
    """
    from sagakeep.offline.repair import NoBoundary
    from sagakeep.offline.repair_listing import repair_directory

    if dry_run and yes:
        raise click.UsageError("--dry-run and --yes exclude each other")
    if position is not None and saga_ids:
        raise click.UsageError("--truncate-after and --quarantine-saga exclude each other")
    wanted = frozenset(saga_ids)
    try:
        good = repair_directory(directory, position, wanted, yes=yes, as_json=as_json)
    except NoBoundary as error:
        raise click.BadParameter(str(error), param_hint="--truncate-after") from None
    context.exit(0 if good else 1)


@main.command()
@click.argument("url")
@click.option("--action", required=True, help="Name of the action: it is called at URL/NAME.")
@click.option("--compensation", default="", help="Name of its undo, if it has one.")
@click.option("--probe", default="", help="Name of its probe, if it has one.")
@click.option("--payload", default="{}", help="JSON, or @FILE; for the action and the probe.")
@click.option("--compensation-payload", help="JSON, or @FILE.  [default: the payload]")
@click.option("--header", "headers", multiple=True, help="NAME: VALUE, for every request.")
@click.option("--duplicates", default=8, type=click.IntRange(2, 64), help="How many at once.")
@click.option("--ledger-url", default="", help="Says how many effects there are, as JSON.")
@click.option("--timeout", default=10.0, type=click.FloatRange(0.1, 600), help="Of one request.")
@click.option("--within", default=120.0, type=click.FloatRange(1, 3600), help="Seconds for all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--yes", is_flag=True, help="Do not ask: real effects are made at the service.")
@click.pass_context
def grade(
    context: click.Context, /, yes: bool, as_json: bool, within: float, **words: object
) -> None:
    """Send duplicates, empty undos and late actions to the service at URL, and grade what it does.

    It makes REAL EFFECTS there, some 40 of the action: use a service on test data. Exit code 0 when all is
    well, 1 when something failed, 2 when it cannot be graded.
    """
    import trio

    from sagakeep.grade.command import read_target, run_exam
    from sagakeep.grade.exam import CannotGrade
    from sagakeep.grade.paper import print_json, print_report

    try:
        target = read_target(words)
        if not (yes or _is_agreed(f"This makes real effects at {target.url}. Go on?")):
            raise click.UsageError("nothing was sent: it makes real effects, so it wants a --yes")
        report = trio.run(run_exam, target, str(words["ledger_url"]), within)
    except (CannotGrade, ConfigurationError) as error:
        raise click.UsageError(str(error)) from None
    (print_json if as_json else print_report)(report)
    context.exit(0 if report.grade == "A" else 1)


def _is_agreed(question: str) -> bool:
    """Ask, if somebody is there who can answer."""
    return _is_terminal() and click.confirm(question, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


@main.group()
def key() -> None:
    """Make the keys of those who may use the server."""


@key.command("new")
@click.option("--role", required=True, type=click.Choice(["viewer", "operator", "admin"]))
@click.option("--name", default="", help="Whose key it is; events say so.  [default: the role]")
def key_new(role: str, name: str) -> None:
    """Print a new key, once, and the entry to configure for it."""
    import re

    from sagakeep.http.auth import Role, new_key
    from sagakeep.limits import NAME_PATTERN

    name = name or role
    if not re.fullmatch(NAME_PATTERN, name):
        raise click.BadParameter(
            f"{name!r} is no name; expected {NAME_PATTERN}", param_hint="--name"
        )
    text, sha256 = new_key(Role(role))
    click.echo("# The key is shown this once; give it to its user:", err=True)
    click.echo(text)
    click.echo("# This is for the configuration; the key cannot be had from it:", err=True)
    click.echo(f'[[auth.keys]]\nname = "{name}"\nsha256 = "{sha256}"\nrole = "{role}"')


@main.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("show")
@_CONFIG
def config_show(path: str | None) -> None:
    """Print every setting, its value and where it comes from; secrets are masked."""
    from sagakeep.settings.sources import read_settings, rows_of

    for name, value, origin in rows_of(read_settings(path, os.environ, {})):
        click.echo(f"{f'{name} = {value}':60} # {origin}")


for command in (
    *(backup, restore, check, prove, submit.submit, show.get, show.list_sagas, show.explain),
    *(show.stats, events.events, watch.watch, top.top, doctor.doctor),
    *(move.retry, move.compensate, move.resolve, move.cancel, move.delete, move.pause, move.resume),
    *(move.skip, move.edit, move.finish, move.rerun),
    *(demo.demo, export.export),
    *(analytics.analytics, service.service, bulk.bulk),
):
    main.add_command(command)
