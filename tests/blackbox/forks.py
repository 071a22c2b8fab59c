"""Kill forks: a child lives on a real directory and is killed at a random instant, again and again.

The parent has all modules loaded and no thread, so a life costs milliseconds. After some kills the dead
directory is examined as it is; after `LIVES` kills a last child lives to its end, and the judge compares the
ledgers. Some directories grow ten times as long.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
from pathlib import Path

import msgspec

from blackbox.autopsy import examine
from blackbox.campaign import Bounds
from blackbox.deeds import read_deeds
from blackbox.judge import Final, judge
from blackbox.life import LAST_LIFE_S_MAX, Life, Place, begin_log, live
from blackbox.wishes import last_words

LIVES = 25  # in a directory
LONG_EVERY = 10  # of so many directories one is for ten times as many lives
EXAMINED = (
    0.2  # of the dead; what one examination would miss the next one finds, but not when it came
)
HANG_S = 30.0
ORDERS = 12  # of one life, if it lasted
OPENING_S_MAX = 0.04  # three of ten are killed before that, so while they recover, or soon after
OPEN_S_MAX = 0.08  # the others within that after they opened their directory


class Child:
    """A process that was forked to live a life; when `stopped` it waits for SIGCONT first."""

    def __init__(self, life: Life, *, stopped: bool = False) -> None:
        self._opened, opened = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                begin_log(life.place)
                if stopped:
                    os.kill(os.getpid(), signal.SIGSTOP)
                live(life, lambda: os.close(opened))
            finally:
                os._exit(4)
        os.close(opened)
        if stopped:
            os.waitpid(self.pid, os.WUNTRACED)
        self._end = os.pidfd_open(self.pid)

    def wait_open(self, seconds: float) -> bool:
        """Wait until it has opened its directory, or has ended."""
        return _is_readable(self._opened, seconds)

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; return how it ended as `waitstatus_to_exitcode` does, None when it goes on."""
        return self._reap() if _is_readable(self._end, seconds) else None

    def kill(self) -> int:
        signal.pidfd_send_signal(self._end, signal.SIGKILL)
        return self._reap()

    def _reap(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._end)
        os.close(self._opened)
        return os.waitstatus_to_exitcode(status)


def _is_readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def run(bounds: Bounds) -> None:
    """Kill `bounds.count` children."""
    draw = random.Random(bounds.seed)
    directory = 0
    while not bounds.is_over:
        directory += 1
        lives = LIVES * (10 if directory % LONG_EVERY == 0 else 1)
        lives = min(lives, bounds.count - bounds.findings.count)
        place = make_place(bounds.root / f"forks-{bounds.seed}-{directory}")
        name = f"f{bounds.seed}-{directory}"
        before = len(bounds.findings.faults)
        for at in range(lives):
            _live_and_die(bounds, Life(place, f"{name}-{at}", ORDERS), draw)
            if bounds.is_over and at + 1 < lives:
                break
        conclude(bounds, Life(place, f"{name}-last", 0, last=True))
        bury(bounds, place, before)


def make_place(root: Path) -> Place:
    root.mkdir(parents=True)
    return Place(root)


def _live_and_die(bounds: Bounds, life: Life, draw: random.Random) -> None:
    child = Child(life)
    if draw.random() < 0.3:
        code = child.wait(draw.uniform(0, OPENING_S_MAX))
    else:
        child.wait_open(HANG_S)
        bounds.findings.add("opened")
        code = child.wait(draw.uniform(0, OPEN_S_MAX))
    if code is None:
        code = child.kill()
        bounds.findings.add("killed")
    if code not in (0, -signal.SIGKILL):
        bounds.findings.blame(life.name, [f"the child ended with {code}: {life.place.log}"])
    bounds.done()
    if draw.random() < EXAMINED:
        look(bounds, life)


def look(bounds: Bounds, life: Life) -> None:
    """Examine what the dead left behind."""
    if not (life.place.data / "FORMAT").exists():
        return  # it had not begun
    bounds.findings.add("examined")
    wishes, deeds = last_words(life.place.wishes), read_deeds(life.place.ledgers)
    bounds.findings.blame(life.name, examine(str(life.place.data), wishes, deeds))


def conclude(bounds: Bounds, life: Life) -> None:
    """Let a last child live to its end, and judge."""
    place = life.place
    child = Child(life)
    code = child.wait(LAST_LIFE_S_MAX + HANG_S)
    if code is None:
        code = child.kill()
    if code != 0:
        bounds.findings.blame(life.name, [f"the last child ended with {code}: {place.log}"])
        return
    look(bounds, life)
    finals = msgspec.json.decode(place.finals.read_bytes(), type=list[Final])
    wishes, deeds = last_words(place.wishes), read_deeds(place.ledgers)
    bounds.findings.blame(life.name, judge(finals, wishes, deeds))
    bounds.findings.add("sagas", len(finals))
    bounds.findings.add("deeds", len(deeds))
    bounds.findings.add("directories")


def bury(bounds: Bounds, place: Place, before: int) -> None:
    """Remove a directory, unless there are more faults than before it was made: then it is evidence."""
    if len(bounds.findings.faults) == before:
        shutil.rmtree(place.root)
