"""What `verify` prints: counts when all is good, the place and the next command when it is not."""

from __future__ import annotations

import json

import click

from sagakeep.errors import JournalCorrupt
from sagakeep.offline.audit import Audit, AuditSummary
from sagakeep.offline.diagnosis import Diagnosis, diagnose
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_directory import Paths


def list_verification(directory: str, *, as_json: bool) -> bool:
    """Check a directory and print what was found; tell whether it is good.

    Raises JournalError when there is no journal, or a repair of it was interrupted.
    """
    disk, paths = LocalDisk(), Paths(directory.rstrip("/") or "/")
    audit = Audit(disk, paths.root)
    try:
        for _ in audit:
            pass
    except JournalCorrupt as error:
        found = diagnose(disk, paths, error)
        if as_json:
            click.echo(json.dumps({"good": False, "damage": found._asdict()}))
        else:
            click.echo("\n  ".join(["Error: the journal is damaged", *_told(found)]), err=True)
        return False
    summary = audit.summary()
    if as_json:
        click.echo(json.dumps({"good": True, **summary._asdict()}))
    else:
        _print_summary(directory, summary)
    return True


def _told(found: Diagnosis) -> list[str]:
    remedy = "nothing was changed; restore the directory from a copy"
    if not found.command:
        return [*found.lines, remedy]
    return [*found.lines, f"{remedy}, or see what can be given up:", found.command]


def _print_summary(directory: str, summary: AuditSummary) -> None:
    for note in summary.notes:
        click.echo(f"note: {note}", err=True)
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(summary.sagas.items()))
    click.echo(
        f"{directory}: {summary.segments} segments, {summary.frames} frames,"
        f" {summary.records} records, {summary.events} events: all good"
    )
    click.echo(f"sagas: {by_status or 'none'}; {summary.deleted} deleted")
    if summary.torn_bytes:
        click.echo(f"{summary.torn_bytes} bytes at the end were never finished, which is normal")
