"""Plant every bug and print what caught it; exit 1 when one goes unnoticed."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from .bugs import BUGS
from .drill import Caught, drill, replaced


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m planted", description=__doc__)
    parser.add_argument("--bug", action="append", choices=[bug.name for bug in BUGS])
    parser.add_argument("--seeds", type=int, default=2_000, help="worlds until one goes unnoticed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    bugs = [bug for bug in BUGS if not asked.bug or bug.name in asked.bug]
    for bug in bugs:
        replaced(bug)  # a table that is out of date is told before hours are spent
    all_caught: list[Caught] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for caught in pool.map(lambda bug: drill(bug, asked.seeds), bugs):
            all_caught.append(caught)
            if not asked.json:
                print(_line(caught), flush=True)
    missed = [caught.bug for caught in all_caught if not caught.by]
    if asked.json:
        told = {"bugs": len(bugs), "caught": len(bugs) - len(missed), "missed": missed}
        print(json.dumps({**told, "table": [caught._asdict() for caught in all_caught]}))
    else:
        print(f"{len(bugs) - len(missed)} of {len(bugs)} bugs were caught")
    return 1 if missed else 0


def _line(caught: Caught) -> str:
    by = caught.by.partition(":")[0][:40] if caught.by else "NOT CAUGHT"
    place = caught.at[:44]
    return f"{caught.bug:34} {by:40} {place:44} {caught.worlds:5} worlds {caught.seconds:7.1f} s"


if __name__ == "__main__":
    sys.exit(main())
