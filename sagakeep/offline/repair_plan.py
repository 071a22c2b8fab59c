"""Plans of repairs: what would be changed and lost, and whether all would be good then.

A plan changes nothing. It has been tried: what the directory would be was audited. `carry_out` makes it so
(`runtime.amendment`); the original bytes stay in `quarantine`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.audit import Audit
from sagakeep.offline.diagnosis import diagnose
from sagakeep.offline.loss import Loss, Losses, Standing
from sagakeep.offline.overlay import OverlayDisk
from sagakeep.offline.salvage import Gap
from sagakeep.runtime.amendment import Amendment, Replacement, amend
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths

_DERIVED: Final = ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm")


class Plan(NamedTuple):
    """A repair that was thought through; `complaint` says what would still be wrong after it, "" for nothing."""

    what: str
    amendment: Amendment
    losses: tuple[Loss, ...]
    gaps: tuple[Gap, ...]
    complaint: str
    next_command: str  # what would help against the complaint, ""
    error: JournalCorrupt | None  # the complaint, when it has a place
    is_mending: bool = False  # it gives up nothing, so it is worth doing though a complaint is left

    @property
    def is_empty(self) -> bool:
        return not (self.amendment.replaced or self.amendment.removed)

    def told(self) -> dict[str, object]:
        """Return the plan as JSON has it."""
        return {
            "what": self.what,
            "lost": [one._asdict() for one in self.losses],
            "unreadable": [one._asdict() for one in self.gaps],
            "replaced": [one.path for one in self.amendment.replaced],
            "removed": list(self.amendment.removed),
            "goodAfter": not self.complaint,
            "complaint": self.complaint,
            "nextCommand": self.next_command,
        }


def carry_out(disk: Disk, paths: Paths, plan: Plan) -> str:
    """Make a plan of a locked directory so, durably; return where the original bytes are."""
    report = json.dumps(plan.told(), ensure_ascii=False, indent=1).encode()
    return amend(disk, paths, plan.amendment, report)


def amendment_of(
    disk: Disk, paths: Paths, replaced: list[Replacement], removed: list[str]
) -> Amendment:
    """Collect the changes; what is derived goes with any of them."""
    derived = [name for name in _DERIVED if disk.exists(f"{paths.root}/{name}")]
    inner = tuple(inner_path(paths, path) for path in removed)
    return Amendment(tuple(replaced), inner, tuple(derived) if replaced or removed else ())


def tried(disk: Disk, paths: Paths, what: str, amendment: Amendment, losses: Losses) -> Plan:
    """Audit what the directory would be."""
    after = overlay_of(disk, paths, amendment.replaced, (*amendment.removed, *amendment.derived))
    left: dict[str, Standing] = {}
    complaint = command = ""
    corrupt: JournalCorrupt | None = None
    try:
        for one in Audit(after, paths.root):
            if one.state.id in losses.furthest:
                left[one.state.id] = Standing(one.state.status, one.state.sequence)
    except JournalCorrupt as error:
        corrupt, complaint, command = error, str(error), diagnose(after, paths, error).command
    except JournalError as error:
        complaint = str(error)
    lost = losses.against(left)
    return Plan(what, amendment, lost, tuple(losses.gaps), complaint, command, corrupt)


def overlay_of(
    disk: Disk, paths: Paths, replaced: Sequence[Replacement], removed: Sequence[str]
) -> OverlayDisk:
    """The disk as it would be."""
    makers = {f"{paths.root}/{one.path}": one.make for one in replaced}
    return OverlayDisk(disk, makers, frozenset(f"{paths.root}/{path}" for path in removed))


def inner_path(paths: Paths, path: str) -> str:
    return path.removeprefix(f"{paths.root}/")
