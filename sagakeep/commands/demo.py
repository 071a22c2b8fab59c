"""The command that shows what this is: `demo`. Twenty sagas, one is undone, and the server is killed with -9."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from types import FrameType

    from sagakeep.commands.demo_show import Show

FRAME_S: Final = 0.1
SHOW_S_MAX: Final = 600.0  # of a plain one, which nobody can end by a key


@click.command()
@click.option(
    "--plain", is_flag=True, help="Lines, and one kill by itself; so it is without a terminal."
)
@click.option(
    "--pace",
    "pace_s",
    metavar="SECONDS",
    default=1.5,
    show_default=True,
    type=click.FloatRange(0.05, 60),
    help="How long a step takes.",
)
def demo(plain: bool, pace_s: float) -> None:
    """Run 20 sagas and a server of their own, live in the terminal.

    One saga fails and is undone backwards. Press k, and the server is killed with -9, comes back, and what it
    recovered is told; q ends. Nothing is left behind. A plain show exits with 1
    unless every saga came to its end.
    """
    from sagakeep.commands.demo_server import DemoServer
    from sagakeep.commands.demo_show import Show

    with _signals_end_it(), tempfile.TemporaryDirectory(prefix="sagakeep-demo-") as directory:
        server = DemoServer(directory)
        show = Show(server)
        try:
            show.begin(pace_s)
            if plain or not (sys.stdin.isatty() and sys.stdout.isatty()):
                _play_plain(show)
                code = 0 if show.is_over else 1
            else:
                _play_live(show)
                code = 0
        finally:
            server.close()
    raise click.exceptions.Exit(code)


def _play_plain(show: Show) -> None:
    """Tell the news as lines, and kill the server when most sagas are in their midst."""
    from sagakeep.commands.demo_show import KILL_AFTER_STEPS

    told = 0
    until_s = time.monotonic() + SHOW_S_MAX
    while not show.is_over and time.monotonic() < until_s:
        show.look()
        if not show.kills and show.steps_done >= KILL_AFTER_STEPS:
            show.kill()
            show.come_back()
        for line in show.news[told:]:
            click.echo(line)
        told = len(show.news)
        time.sleep(FRAME_S)
    click.echo(show.summary())


def _play_live(show: Show) -> None:
    """Draw a frame ten times a second until `q`; the last one stays."""
    from rich.live import Live

    from sagakeep.commands.demo_picture import picture
    from sagakeep.commands.keyboard import Keyboard

    show.look()
    with Keyboard() as keyboard, Live(picture(show), auto_refresh=False) as live:
        keys = ""
        while "q" not in keys:
            show.look()
            if "k" in keys:
                show.kill()
                live.update(picture(show), refresh=True)
                show.come_back()
            live.update(picture(show), refresh=True)
            keys = keyboard.wait(FRAME_S)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """A closed terminal, Ctrl-C and SIGTERM end the show in order, so that its server ends, too."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise click.exceptions.Exit(128 + number)

    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
