"""A PostgreSQL server of its own for a test, on a socket in a directory; None where none is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = "/usr/lib/postgresql"


def programs() -> Path | None:
    """The directory of the server's programs: that of the newest version, or on the path."""
    found = sorted(Path(PLACES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def reason_for_none() -> str:
    """Say why no server can run here; "" when one can."""
    if programs() is None:
        return "PostgreSQL is not installed"
    if os.getuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user for it"
    return ""


def _user() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@contextmanager
def open_postgres() -> Iterator[str]:
    """Run a server, which listens on no network; yields how to connect, but for the database."""
    home = tempfile.mkdtemp(prefix="sk-pg-")  # short: the path of a socket has at most 107 bytes
    user = _user() if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(home, user)
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(program: str, *args: str) -> None:
        command = [str(programs() / program), *args]
        subprocess.run(
            command,
            check=True,
            user=user,
            env=environ,
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    data = f"{home}/data"
    try:
        run("initdb", "-D", data, "-A", "trust", "-U", "sagakeep", "--no-sync")
        options = f"-k {home} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", f"{home}/log", "start")
        try:
            yield f"host={home} user=sagakeep"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
