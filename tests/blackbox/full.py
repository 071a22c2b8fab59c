"""Fill the disk and free it again: a tmpfs of a few MiB, a ballast file, and a client that goes on asking.

Filled up to the reserve, new sagas are a 503 with `Retry-After`, and what is under way goes on. Filled to the
last byte, sagas wait. When the ballast goes, all of it heals without a restart. Needs root, for the mount.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blackbox.campaign import Bounds
from blackbox.customer import CUT, Customer
from blackbox.forks import make_place
from blackbox.kills import complain, judge_at_rest
from blackbox.life import Place
from blackbox.processes import Broken, ServerProcess, System, running, verify, wait_until
from blackbox.wishes import WishLedger

DISK_MIB = 16
LIMITS = """
segmentBytes = 8192
snapshotEveryBytes = 131072
diskReserveBytes = 2097152
"""
LEAST_FREE_BYTES = 8 << 20  # when less is free after a round a new directory is begun
HEAL_S_MAX = 30.0
PACE_S = 0.002


def run(bounds: Bounds) -> None:
    """Fill the disk `bounds.count` times."""
    directory = 0
    while not bounds.is_over:
        directory += 1
        place = make_place(bounds.root / f"full-{bounds.seed}-{directory}")
        place.data.mkdir()
        try:
            with _mounted(place.data):
                _fill_and_free(bounds, place, f"u{bounds.seed}-{directory}")
        except _NoMount as error:
            bounds.findings.skipped = str(error)


class _NoMount(Exception):
    """This machine does not let us mount a file system."""


@contextmanager
def _mounted(path: Path) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "blackbox", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        raise _NoMount(f"no tmpfs can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _fill_and_free(bounds: Bounds, place: Place, name: str) -> None:
    """Rounds on one directory, until the journal itself takes too much of the disk."""
    wishes = WishLedger(place.wishes)
    ballast = Ballast(place.data / "ballast")
    with running(place, limits=LIMITS) as system:
        server = system.start()
        server.wait_ready()
        try:
            while not bounds.is_over and ballast.free_bytes() > LEAST_FREE_BYTES:
                _round(bounds, system, wishes, ballast, f"{name}-{bounds.findings.count}")
                bounds.done()
            judge_at_rest(bounds, system, name)
            if (code := server.end()) != 0:
                bounds.findings.blame(name, [f"the server ended with {code}"])
        except Broken as error:
            bounds.findings.blame(name, [str(error)])
    bounds.findings.add("directories")
    waits = place.log.read_text(errors="replace").count("the disk is full, sagas wait")
    bounds.findings.add("appends that waited", waits)
    bounds.findings.blame(name, verify(place.data))
    complain(bounds, place)


class Ballast:
    """A file that takes space away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def free_bytes(self) -> int:
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Grow until no more than that is free."""
        with open(self._path, "ab", buffering=0) as file:
            try:
                while (more := self.free_bytes() - free_bytes) > 0:
                    file.write(bytes(min(more, 1 << 16)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)


def _round(bounds: Bounds, system: System, wishes: WishLedger, ballast: Ballast, name: str) -> None:
    """Fill in two stages, free, and see that it heals."""
    server = system.server
    assert server is not None, "it was started"
    faults: list[str] = []
    with Customer(server, wishes, name, pace_s=PACE_S) as customer:
        customer.join(0.5)
        ballast.leave(1 << 20)  # below the reserve
        if not wait_until(lambda: customer.unavailable > 0, HEAL_S_MAX):
            faults.append("no 503 below the reserve")
        ballast.leave(0)
        customer.join(1.5)
        faults += _look_while_full(server, customer)
        ballast.drop()
        if not wait_until(lambda: _is_well(server), HEAL_S_MAX):
            faults.append(f"not well {HEAL_S_MAX:g} s after there is space again")
        customer.join(0.5)
    if customer.cuts:
        faults.append(f"the server cut the client off {customer.cuts} times")
    bounds.findings.add("unavailable", customer.unavailable)
    bounds.findings.blame(name, faults + customer.refused)


def _look_while_full(server: ServerProcess, customer: Customer) -> list[str]:
    """A full server is unwell, says why, and answers questions."""
    status, _, health = server.call("GET", "/api/sagas/health")
    if status != 503 or not isinstance(health, dict):
        return [f"full, and its health is a {status}: {health}"]
    listed, _, _ = server.call("GET", "/api/sagas/stats")
    return [] if listed == 200 else [f"full, and the statistics are a {listed}"]


def _is_well(server: ServerProcess) -> bool:
    try:
        return server.call("GET", "/api/sagas/health")[0] == 200
    except CUT:
        return False
