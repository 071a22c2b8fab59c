"""Kill and fault at the n-th system call, for n = 1 until the life does not get so far.

strace attaches to a forked child that has loaded everything and waits, and then injects one fault into one
life: it ends at its n-th `pwrite64`, or its n-th `fdatasync` fails with EIO, and so on. A first life has been
killed in the directory before, so that the one with the fault recovers. Afterwards a last life without faults
goes to its end, and the judge compares the ledgers.

strace counts the calls of each thread by itself; the journal's thread makes most of those that matter.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from blackbox.campaign import Bounds
from blackbox.forks import HANG_S, Child, bury, conclude, look, make_place
from blackbox.life import Life, Place

ORDERS = 6
SEGMENT_KIB = 4  # so that the life makes several segments
FIRST_LIFE_S = 0.08
KILLED = "+++ killed by SIGKILL +++"
INJECTED = ("(INJECTED)", "(DELAYED)", KILLED)
EXPECTED = re.compile(r"Journal\w+:|DiskFull:|OSError:|sqlite3\.\w+:|Unavailable:|SystemExit")


class Fault(NamedTuple):
    """What happens at the n-th call of `call`, as strace has it."""

    call: str
    what: str

    def __str__(self) -> str:
        return f"{self.call}:{self.what}"


KILLS = tuple(
    Fault(call, "signal=KILL")
    for call in (
        *("pwrite64", "fdatasync", "fsync", "rename", "openat", "fallocate", "ftruncate"),
        *("unlink", "mkdir", "write", "close"),
    )
)
ERRORS = (
    Fault("fdatasync", "error=EIO"),
    Fault("fsync", "error=EIO"),
    Fault("pwrite64", "error=EIO"),
    Fault("pread64", "error=EIO"),
    Fault("rename", "error=EIO"),
    Fault("ftruncate", "error=EIO"),
    Fault("unlink", "error=EIO"),
    Fault("pwrite64", "error=ENOSPC"),
    Fault("fallocate", "error=ENOSPC"),
    Fault("fallocate", "error=EOPNOTSUPP"),
    Fault("openat", "error=ENOSPC"),
    Fault("openat", "error=EMFILE"),
    Fault("statfs", "error=EIO"),
    Fault("fdatasync", "delay_enter=100000"),
)
FAULTS = KILLS + ERRORS


def run(bounds: Bounds) -> None:
    """Inject `bounds.count` faults: the first of each kind, then the second of each, and so on."""
    if shutil.which("strace") is None:
        bounds.findings.skipped = "strace is not installed"
        return
    ended: set[Fault] = set()
    number = 0
    while not bounds.is_over and len(ended) < len(FAULTS):
        number += 1
        for fault in FAULTS:
            if fault not in ended and not bounds.is_over:
                if inject(bounds, fault, number):
                    bounds.done()
                else:
                    ended.add(fault)
                    bounds.findings.numbers[f"last {fault}"] = number - 1
    if len(ended) == len(FAULTS):
        bounds.findings.add("exhausted")


def inject(bounds: Bounds, fault: Fault, number: int) -> bool:
    """Live three lives, the second with the fault; return whether it came to the n-th call."""
    name = f"y{bounds.seed}-{fault}-{number}".replace("=", "-").replace(":", "-")
    place = make_place(bounds.root / name)
    _first_life(Life(place, f"{name}-first", ORDERS))
    life = Life(place, f"{name}-second", ORDERS, last=True, segment_kib=SEGMENT_KIB)
    trace = place.root / "strace"
    code = _live_traced(life, trace, fault, number)
    text = trace.read_text(errors="replace")
    before = len(bounds.findings.faults)
    bounds.findings.blame(name, _blame(code, text, place))
    bounds.findings.add({None: "hung", 0: "went on", -9: "killed"}.get(code, "gave up"))
    look(bounds, life)
    conclude(bounds, Life(place, f"{name}-last", 0, last=True))
    bury(bounds, place, before)
    return is_injected(text)


def is_injected(text: str) -> bool:
    return any(mark in text for mark in INJECTED)


def _first_life(life: Life) -> None:
    child = Child(life)
    child.wait_open(HANG_S)
    if child.wait(FIRST_LIFE_S) is None:
        child.kill()


def _live_traced(life: Life, trace: Path, fault: Fault, number: int) -> int | None:
    """Let a child live with a fault; return how it ended, None when it had to be killed."""
    child = Child(life, stopped=True)
    command = ["strace", "-f", "-p", str(child.pid), "-o", str(trace), "-e", f"trace={fault.call}"]
    command += ["-e", f"inject={fault.call}:{fault.what}:when={number}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        _wait_attached(tracer)
        os.kill(child.pid, signal.SIGCONT)
        code = child.wait(HANG_S)
        if code is None:
            child.kill()
        tracer.communicate()
    return code


def _wait_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    select.select([tracer.stderr], [], [], HANG_S)
    line = os.read(tracer.stderr.fileno(), 1000)
    assert b"attached" in line, line


def _blame(code: int | None, text: str, place: Place) -> list[str]:
    """A life with a fault may end, by the fault or in order; it may not hang, nor end of anything else."""
    if code is None:
        return [f"it hung: {place.log}"]
    if code == -signal.SIGKILL:
        return [] if KILLED in text else ["killed, and not by us"]
    if code == 0:
        return []
    ends = [line for line in place.log.read_text(errors="replace").splitlines() if line.strip()]
    if is_injected(text) and any(EXPECTED.search(line) for line in ends[-12:]):
        return []
    return [f"it ended with {code}, unexpectedly: {' / '.join(ends[-3:])}"]
