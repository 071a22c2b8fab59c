"""Where figures come from: the machine, the interpreter, the commit and the date."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
WRITTEN: Final = ("bench/README.md", "bench/results")


def provenance() -> dict[str, object]:
    """Say it in the words of the JSON objects."""
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def machine() -> str:
    """Name processor, cores, memory and kernel."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_processor()}, {memory:.0f} GiB, Linux {platform.release()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> str:
    """Name the commit of the checkout, with `+` when files differ from it; "" when there is none.

    What the benches write themselves is no difference.
    """
    head = _git("rev-parse", "--short=10", "HEAD")
    written = [f":!{name}" for name in WRITTEN]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return head + "+" if head and changed else head


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
