"""The events of a journal as they are printed: for people in columns, for programs as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import click

from sagakeep.errors import SagaNotFound
from sagakeep.logs import escaped
from sagakeep.offline.audit import Audit
from sagakeep.published import EventView
from sagakeep.runtime.disk import LocalDisk
from sagakeep.view import event_views

_COLOURS = {"success": "green", "retry": "yellow", "error": "red", "info": ""}


def list_events(directory: str, saga_id: str) -> None:
    """Print the events of a directory, in order; with `saga_id` those of one saga.

    Raises SagaNotFound when it has none, JournalCorrupt where the journal is damaged, after what is
    before the damage was printed.
    """
    is_terminal = sys.stdout.isatty()
    write = _columns_writer(with_saga=not saga_id) if is_terminal else _write_json
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


def _columns_writer(*, with_saga: bool) -> Callable[[EventView], None]:
    """Return what prints one event in columns; rich is imported here, for only people need it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    console.print(Text(_line("TIME", "SAGA" if with_saga else "", "SEQ", "EVENT", "STEP", "")))

    def write(view: EventView) -> None:
        saga = view["sagaID"] if with_saga else ""
        words = (view["timestamp"], saga, str(view["seq"]), view["type"], view["stepID"])
        text = Text(_line(*words, ""))
        text.append(escaped(_detail(view)))
        text.stylize(_COLOURS[view["status"]])
        console.print(text)

    return write


def _line(time: str, saga: str, sequence: str, event: str, step: str, detail: str) -> str:
    saga_column = f"{saga:36}  " if saga else ""
    return f"{time:27}  {saga_column}{sequence:>4}  {event:22}  {step:20}  {detail}"


def _detail(view: EventView) -> str:
    """Say what an event is about, in a line: its error, else its payload but for the definition."""
    if view["error"]:
        return view["error"]
    payload = {name: value for name, value in view["payload"].items() if name != "definition"}
    return json.dumps(payload, ensure_ascii=False) if payload else ""
