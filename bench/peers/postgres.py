"""A PostgreSQL server as it comes, durable, on a socket in a directory of its own; it listens on no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.peers.environment import NotInstalled

PLACES: Final = Path("/usr/lib/postgresql")
USER: Final = "postgres"  # of the system; the server does not run as root


@contextmanager
def open_postgres() -> Iterator[str]:
    """Run a server; yields the URL of an empty database. Raises NotInstalled."""
    programs, user = _programs(), _user()
    home = tempfile.mkdtemp(prefix="sk-pg-")  # short: the path of a socket has at most 107 bytes
    if user is not None:
        shutil.chown(home, user)

    def run(program: str, *words: str) -> None:
        subprocess.run(
            [str(programs / program), *words],
            check=True,
            user=user,
            cwd=home,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    data, owner = f"{home}/data", "sagakeep"
    try:
        run("initdb", "-D", data, "-A", "trust", "-U", owner)
        options = f"-k {home} -c listen_addresses=''"
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", f"{home}/log", "start")
        try:
            run("createdb", "-h", home, "-U", owner, "bench")
            yield f"postgresql://{owner}@/bench?host={home}"
        finally:
            run("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _programs() -> Path:
    """Return the directory of the newest version's programs."""
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise NotInstalled("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent if found else Path(on_path or "").parent


def _user() -> str | None:
    """Return whom to run as, None for whoever this is."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER).pw_name
    except KeyError:
        raise NotInstalled(
            f"PostgreSQL does not run as root, and there is no user {USER}"
        ) from None
