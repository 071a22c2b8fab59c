"""Run the campaign; exit 1 when a promise is broken.

PYTHONPATH=tests python -m corruption                     every damage of every kind: minutes
PYTHONPATH=tests python -m corruption --stride 50 --json  every 50th, as JSON
"""

from __future__ import annotations

import argparse
import json
import sys

from .campaign import run_campaign
from .damage import KINDS
from .sample import make_sample


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m corruption", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--seed", type=int, default=1, help="of the journal")
    parser.add_argument("--stride", type=int, default=1, help="try every n-th damage")
    parser.add_argument("--offset", type=int, default=0, help="from this one on")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind")
    asked = parser.parse_args()
    sample = make_sample(asked.seed)
    kinds = asked.kind or list(KINDS)
    tallies = []
    for tally in run_campaign(
        sample, kinds, stride=asked.stride, offset=asked.offset, seconds_max=asked.seconds
    ):
        tallies.append(tally)
        if not asked.json:
            counts = ", ".join(f"{count} {name}" for name, count in sorted(tally.verdicts.items()))
            print(
                f"{tally.kind:18} {tally.damages:7} damages: {counts}; {tally.seconds} s",
                flush=True,
            )
            for line in tally.wrong:
                print(f"    WRONG {line}")
    damages = sum(tally.damages for tally in tallies)
    wrong = sum(tally.verdicts.get("wrong", 0) for tally in tallies)
    size = sum(len(sample.disk.get(path)) for path in sample.disk.paths())
    if asked.json:
        kinds_told = [tally._asdict() for tally in tallies]
        told = {"bytes": size, "damages": damages, "wrong": wrong, "kinds": kinds_told}
        print(json.dumps(told))
    else:
        print(f"{damages} damages of a directory of {size} bytes: {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
