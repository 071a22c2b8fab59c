"""The campaign: all kinds of damage, judged and counted."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from .damage import KINDS, Anatomy, Damage
from .sample import Sample
from .verdict import Seen, Truth, Wrong

WRONG_SHOWN_MAX = 20


class Tally(NamedTuple):
    """The verdicts of one kind of damage, by name, and what was wrong."""

    kind: str
    damages: int
    verdicts: dict[str, int]
    wrong: list[str]
    seconds: float
    complete: bool  # every damage of this kind was tried


def run_campaign(
    sample: Sample,
    kinds: Iterable[str] = KINDS,
    *,
    stride: int = 1,
    offset: int = 0,
    seconds_max: float = float("inf"),
) -> Iterator[Tally]:
    """Try every `stride`-th damage of some kinds, from the `offset`-th on; yield a tally for each kind."""
    truth, anatomy = Truth(sample.disk), Anatomy(sample)
    until = time.monotonic() + seconds_max
    for kind in kinds:
        began = time.monotonic()
        verdicts: Counter[str] = Counter()
        wrong: list[str] = []
        cut_short = False
        for damage in islice(KINDS[kind](anatomy), offset % stride, None, stride):
            verdict, complaint = _judge(truth, damage)
            verdicts[verdict] += 1
            if complaint and len(wrong) < WRONG_SHOWN_MAX:
                wrong.append(f"{damage.what}: {complaint}")
            if time.monotonic() > until:
                cut_short = True
                break
        seconds = time.monotonic() - began
        complete = stride == 1 and not cut_short
        yield Tally(kind, verdicts.total(), dict(verdicts), wrong, round(seconds, 2), complete)


def _judge(truth: Truth, damage: Damage) -> tuple[str, str]:
    """The verdict of one damage and what is wrong with it, or ""."""
    try:
        seen = truth.look(damage.make())
    except Wrong as error:
        return "wrong", str(error)
    except Exception:  # a start that crashes tells nobody what is wrong with the directory
        return "wrong", traceback.format_exc()
    complaint = complaint_of(damage, seen)
    return ("wrong" if complaint else seen.verdict), complaint


def complaint_of(damage: Damage, seen: Seen) -> str:
    """Say in what the verdict differs from what may be, or ""."""
    if seen.verdict not in damage.may:
        return f"is {seen}, may be {sorted(damage.may)}"
    if seen.verdict == "cut" and seen.frames != damage.frames:
        return f"{seen.frames} frames are left, not {damage.frames}"
    if seen.verdict != "refused":
        return ""
    if not seen.file or seen.offset < 0:
        return f"the refusal has no place: {seen.reason}"
    if damage.file and seen.file != damage.file:
        return f"the refusal names {seen.file}"
    if seen.offset > damage.at:
        return f"the refusal names offset {seen.offset}, after {damage.at}"
    return ""
