"""The picture of the show: a row for each saga with a dot for each step, and the news below.

The rows stand in two columns, so that all of it fits on a terminal of 24 lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sagakeep.commands import screen
from sagakeep.commands.demo_sagas import SAGAS, STEPS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from sagakeep.commands.demo_show import Show

NEWS_SHOWN: Final = 5
KEYS: Final = "k kills the server with -9    q ends"

_DOTS: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("·", "dim"),
    "running": ("◐", "cyan"),
    "retrying": ("◐", "cyan"),
    "completed": ("●", "green"),
    "failed": ("✗", "bold red"),
    "compensating": ("◑", "yellow"),
    "compensated": ("○", "yellow"),
    "compensation_failed": ("✗", "bold red"),
}


def picture(show: Show) -> RenderableType:
    """All of it, for one frame."""
    from rich.console import Group
    from rich.table import Table

    half = SAGAS // 2
    both = Table.grid(padding=(0, 6))
    both.add_row(_rows(show.sagas[:half]), _rows(show.sagas[half:]))
    steps = " > ".join(name for name, _service in STEPS)
    return Group(
        screen.cell(show.summary(), "bold"),
        screen.cell(f"each is {steps}", "dim"),
        both,
        screen.cell(""),
        *(screen.cell(line) for line in show.news[-NEWS_SHOWN:]),
        screen.cell(KEYS, "dim"),
    )


def _rows(sagas: list[Any]) -> Table:
    made = screen.table("SAGA", "STEPS", "STATUS")
    for saga in sagas:
        made.add_row(screen.cell(saga["id"]), _dots(saga), screen.status_cell(saga["status"]))
    return made


def _dots(saga: Any) -> Text:
    from rich.text import Text

    return Text(" ").join(screen.cell(*_DOTS[step["status"]]) for step in saga["steps"])
