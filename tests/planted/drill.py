"""Drills: a copy of the product with one replacement, and the mode that has to notice."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
COPIED = ("sagakeep", "tests/simulation", "tests/corruption", "tests/planted")
SECONDS_MAX = 1_800.0  # of one bug; a machine that is busy needs its time


class Bug(NamedTuple):
    """One replacement in a file of the product; `mode` is what catches it (see `planted.hunt`)."""

    name: str
    file: str
    old: str
    new: str
    mode: str = "random"


class CannotPlant(Exception):
    """The old text is not there exactly once, or what comes of it is no Python: the table is out of date."""


class Caught(NamedTuple):
    """What became of a bug: the invariant that noticed, "" for nobody, and in which world."""

    bug: str
    mode: str
    by: str
    at: str
    worlds: int
    seconds: float


def replaced(bug: Bug, root: Path = ROOT) -> str:
    """The text of the file with the bug in it. Raises CannotPlant."""
    text = (root / bug.file).read_text()
    count = text.count(bug.old)
    if count != 1:
        raise CannotPlant(f"{bug.name}: the old text is {count} times in {bug.file}")
    changed = text.replace(bug.old, bug.new)
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise CannotPlant(f"{bug.name}: what comes of {bug.file} is no Python: {error}") from error
    if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text)):
        raise CannotPlant(f"{bug.name}: the replacement changes nothing")
    return changed


def drill(bug: Bug, seeds: int) -> Caught:
    """Plant a bug in a copy and hunt it there; the copy is gone afterwards."""
    changed = replaced(bug)
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        copy = Path(directory)
        for name in COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        for path in (ROOT / "tests").glob("*.py"):
            if not path.name.startswith("test_"):
                shutil.copy(path, copy / "tests")
        (copy / bug.file).write_text(changed)
        return _hunt(bug, copy, seeds)


def _hunt(bug: Bug, copy: Path, seeds: int) -> Caught:
    began = time.monotonic()
    command = [sys.executable, "-m", "planted.hunt", bug.mode, str(seeds)]
    paths = {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'tests'}", "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | paths,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Caught(bug.name, bug.mode, "", f"nothing within {SECONDS_MAX:g} s", 0, SECONDS_MAX)
    seconds = round(time.monotonic() - began, 1)
    if done.returncode:
        failed = f"the hunt itself failed: {done.stderr[-2000:]}"
        return Caught(bug.name, bug.mode, "", failed, 0, seconds)
    found = json.loads(done.stdout.splitlines()[-1])
    return Caught(bug.name, bug.mode, found["by"], found["at"], found["worlds"], seconds)
