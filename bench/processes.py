"""Processes that are measured: started, waited for until they say where they listen, and ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import trio

from bench.provenance import ROOT

START_S_MAX: Final = 300.0
END_S_MAX: Final = 60.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PORT: Final = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class Running(NamedTuple):
    """A process that listens."""

    pid: int
    port: int


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def cpu_s(pid: int) -> float:
    """CPU that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@asynccontextmanager
async def open_python(*words: str) -> AsyncIterator[Running]:
    """Run `python WORDS` from the root of the checkout; it prints `listening on http://127.0.0.1:PORT`."""
    async with open_process([sys.executable, *words]) as process:
        yield process


@asynccontextmanager
async def open_process(
    command: Sequence[str], end_by: signal.Signals = signal.SIGTERM
) -> AsyncIterator[Running]:
    """Run a command until the block is left, then end it by a signal."""
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield Running(process.pid, await _port_of(process.stdout, command))
    finally:
        with trio.CancelScope(shield=True):
            await _end(process, end_by)
            await process.stdout.aclose()


async def _port_of(stdout: trio.abc.ReceiveStream, command: Sequence[str]) -> int:
    said = b""
    with trio.fail_after(START_S_MAX):
        async for data in stdout:
            said += data
            match = _PORT.search(said.decode())
            if match and b"\n" in said[match.end() :]:
                return int(match[1])
    raise AssertionError(f"{' '.join(command)} ended, and said {said!r}")


async def _end(process: trio.Process, end_by: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(end_by)
    with trio.move_on_after(END_S_MAX):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
