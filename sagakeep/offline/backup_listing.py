"""What `backup` and `restore` print: a bar on a terminal, then the point and what follows from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from sagakeep.offline.backup import Tell, silent, take_backup
from sagakeep.offline.backup_note import Point
from sagakeep.offline.restore import restore_backup
from sagakeep.offline.until import Until
from sagakeep.runtime.disk import LocalDisk
from sagakeep.view import time_view


def list_backup(source: str, destination: str, until: Until | None, *, as_json: bool) -> None:
    """Make a backup and print what it has. Raises as `take_backup` does."""
    with _bar(as_json=as_json) as tell:
        report = take_backup(LocalDisk(), source, destination, until, tell)
    if as_json:
        numbers = {
            "copiedFiles": report.copied_files,
            "copiedBytes": report.copied_bytes,
            "keptFiles": report.kept_files,
            "keptBytes": report.kept_bytes,
        }
        click.echo(json.dumps({"good": True, **_point(report.point, report.deleted), **numbers}))
        return
    click.echo(f"{destination}: a backup of {source}, verified: all good")
    _print_point(report.point, report.deleted)
    click.echo(
        f"{_files(report.copied_files, report.copied_bytes)} copied,"
        f" {_files(report.kept_files, report.kept_bytes)} there already"
    )


def list_restore(source: str, destination: str, until: Until | None, *, as_json: bool) -> None:
    """Restore a backup and print what is there. Raises as `restore_backup` does."""
    with _bar(as_json=as_json) as tell:
        report = restore_backup(LocalDisk(), source, destination, until, tell)
    if as_json:
        backup = {"position": report.backup.position, "time": _time(report.backup)}
        told = {"good": True, **_point(report.point, report.deleted), "backup": backup}
        click.echo(json.dumps(told))
        return
    click.echo(f"{destination}: restored from {source}, verified: all good")
    _print_point(report.point, report.deleted)
    if report.left_out:
        click.echo(
            f"the backup goes on to position {report.backup.position}, {_time(report.backup)}"
        )
    live = report.point.live
    sagas = "1 saga goes on" if live == 1 else f"{live} sagas go on"
    click.echo(
        f"when a server is started on it {sagas} from there: what services were called for after that point"
    )
    click.echo(
        "is called again, under the same keys; sagas that were begun after it are not known any more"
    )


def _point(point: Point, deleted: int) -> dict[str, object]:
    return {
        "position": point.position,
        "time": _time(point),
        "sagas": point.sagas,
        "live": point.live,
        "deleted": deleted,
    }


def _print_point(point: Point, deleted: int) -> None:
    click.echo(
        f"up to position {point.position}, {_time(point) or 'empty'}:"
        f" {point.sagas} sagas, {point.live} of them live; {deleted} deleted"
    )


def _time(point: Point) -> str:
    return time_view(point.latest_us / 1e6) if point.latest_us else ""


def _files(count: int, size: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'} ({size:,} bytes)"


@contextmanager
def _bar(*, as_json: bool) -> Iterator[Tell]:
    """Show how far the work is, where somebody can see it; rich is imported here, for only people need it."""
    if as_json or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of or None)
            progress.update(tasks[what], completed=done, total=of or None)

        yield tell
