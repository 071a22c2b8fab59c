"""Events in columns, for people at a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from sagakeep.logs import escaped
from sagakeep.published import EventView

_COLOURS: Final = {"success": "green", "retry": "yellow", "error": "red", "info": ""}


def columns_writer(*, with_saga: bool) -> Callable[[EventView], None]:
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
