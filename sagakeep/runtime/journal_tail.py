"""The judgement on a place where no good frame stands: an end, a torn write, or damage.

Theory of operation. Four rules of the writer make an interrupted write and damage tell themselves
apart:

1. One frame is in flight at a time; a frame that has a successor was durable.
2. A segment is begun only when every frame before it is durable; HEAD names it before its first
   frame.
3. No start of the process appends to a segment of an earlier one; files are never used twice.
4. Unwritten bytes are zeros, and no intact frame has a sector of zeros or is one bit away from
   one.

Therefore only the very end of the last segment may be torn, and it is cut there; what is wrong
anywhere else was right once, and the start is refused. `TABLE` is the whole decision. The first row
that matches what is seen counts:

    seen where the next frame should stand                            last segment  earlier segment
    nothing but zeros up to the file's end                            end           end
    a true frame header further on: the frame here was durable        corrupt       corrupt
    a true header of a frame that does not belong here                corrupt       corrupt
    a true header, but the frame's end never arrived                  torn          corrupt
    a true header, but a sector of the frame never arrived            torn          corrupt
    no true header, and its bytes or its sector never arrived         torn          corrupt
    anything else: all of a frame arrived, and it is wrong            corrupt       corrupt

"True" means that the salted crc is right. An end of an earlier segment must also be where the
next one begins; `journal_check` sees to that. What cannot be told from a torn write: an acknowledged
last frame of which whole sectors turned into zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from sagakeep.runtime.frame import Sight


class Verdict(Enum):
    """What a place without a good frame means."""

    END = "end"
    TORN = "torn"
    CORRUPT = "corrupt"


class Judgement(NamedTuple):
    """A verdict and why."""

    verdict: Verdict
    reason: str


class Row(NamedTuple):
    """One row of the decision table; `seen` is asked only when no row above matched."""

    seen: Callable[[Sight], bool]
    last: Verdict
    earlier: Verdict
    reason: str


END, TORN, CORRUPT = Verdict

TABLE: Final = (
    Row(lambda s: s.live_end <= s.offset, END, END, "nothing but zeros follows"),
    Row(
        lambda s: s.later_frame is not None,
        CORRUPT,
        CORRUPT,
        "the frame is damaged: a later one proves that it was durable",
    ),
    Row(
        lambda s: s.header and not s.fits,
        CORRUPT,
        CORRUPT,
        "the frame does not follow the one before it",
    ),
    Row(lambda s: s.end_missing, TORN, CORRUPT, "the end of the frame never arrived"),
    Row(lambda s: s.sector_missing, TORN, CORRUPT, "a sector of the frame never arrived"),
    Row(lambda s: s.header_missing, TORN, CORRUPT, "the header of the frame never arrived"),
    Row(
        lambda s: True,
        CORRUPT,
        CORRUPT,
        "the frame is damaged: all of it arrived and its crc is wrong",
    ),
)


def judge_tail(sight: Sight, *, last: bool) -> Judgement:
    """Decide what a place without a good frame means, in the last segment or an earlier one."""
    row = next(row for row in TABLE if row.seen(sight))
    return Judgement(row.last if last else row.earlier, row.reason)
