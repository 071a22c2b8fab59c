"""The environment of the peers: from PyPI and npm into the user's cache, kept for the next time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGES: Final = ("dbos>=3.4,<4", "psycopg[binary]>=3.2", "restate-sdk>=1.3,<2", "hypercorn>=0.18")
RESTATE_SERVER: Final = "@restatedev/restate-server@1"
INSTALL_S_MAX: Final = 600.0


class NotInstalled(Exception):
    """A peer cannot be had here; the words say why, and go into its row."""


def cache_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "sagakeep-bench", "peers")


def python_of(cache: Path) -> str:
    """Return the interpreter that has the peers' packages; installs them, which takes a minute."""
    python = cache / "venv" / "bin" / "python"
    mark = cache / "venv" / "installed"
    if not mark.exists() or mark.read_text() != "\n".join(PACKAGES):
        _run([sys.executable, "-m", "venv", str(cache / "venv")])
        options = ["--quiet", "--disable-pip-version-check"]
        _run([str(python), "-m", "pip", "install", *options, *PACKAGES])
        mark.write_text("\n".join(PACKAGES))
    return str(python)


def restate_server_of(cache: Path) -> str:
    """Return the program of the Restate server; installs it from npm."""
    root = cache / "npm"
    if not (found := _restate_programs(root)):
        if shutil.which("npm") is None:
            raise NotInstalled("npm is not installed, which has the server")
        root.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--silent", "--no-fund", "--prefix", str(root), RESTATE_SERVER])
        found = _restate_programs(root)
    if not found:
        raise NotInstalled(f"{RESTATE_SERVER} has no program for this machine")
    return str(found[0])


def _restate_programs(root: Path) -> list[Path]:
    places = root.glob("node_modules/@restatedev/restate-server-linux-*/bin/restate-server")
    return sorted(places)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S_MAX)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "nothing").strip().splitlines()[-1:]
        raise NotInstalled(f"{' '.join(command[:4])} ... failed: {''.join(last)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
