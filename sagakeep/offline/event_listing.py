"""The events of a journal as they are printed: for people in columns, for programs as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from sagakeep.errors import SagaNotFound
from sagakeep.event_columns import columns_writer
from sagakeep.offline.audit import Audit
from sagakeep.published import EventView
from sagakeep.runtime.disk import LocalDisk
from sagakeep.view import event_views


def list_events(directory: str, saga_id: str, *, as_json: bool = False) -> None:
    """Print the events of a directory, in order; with `saga_id` those of one saga.

    Raises SagaNotFound when it has none, JournalCorrupt where the journal is damaged, after what is
    before the damage was printed.
    """
    is_terminal = sys.stdout.isatty() and not as_json
    write = columns_writer(with_saga=not saga_id) if is_terminal else _write_json
    found = False
    for view in _views(directory, saga_id):
        found = True
        write(view)
    if saga_id and not found:
        raise SagaNotFound(saga_id)


def _views(directory: str, saga_id: str) -> Iterator[EventView]:
    for record, state in Audit(LocalDisk(), directory):
        if saga_id in ("", record.saga_id):
            yield from event_views(record, state.definition)


def _write_json(view: EventView) -> None:
    click.echo(json.dumps(view, ensure_ascii=False))
