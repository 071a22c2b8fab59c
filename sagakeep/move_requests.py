"""The requests of moves: what the body of each says, and the wish that it is.

One type serves the routes, their schema, and whoever makes a move of many sagas. Pure: no clock, no I/O.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sagakeep import limits
from sagakeep import messages as m
from sagakeep.definition import Json, Name, OptionalName
from sagakeep.events import Resolution
from sagakeep.faults import Faults
from sagakeep.mapping import FROM, has_references
from sagakeep.redaction import REDACTED

Why = Annotated[
    str,
    Meta(
        description="Kept in the saga's history.",
        extra_json_schema={"maxLength": limits.REASON_CHARS_MAX},
    ),
]
Literally = Annotated[
    object, Meta(description="Any JSON value; it is sent as it is, without a reference.")
]


class MoveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Root of the bodies; all of them may say why."""

    reason: Why = ""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Wish:
        """The wish that this is, of whoever asks; with `versions` only for a saga at one of these."""
        raise NotImplementedError

    def check(self, faults: Faults) -> None:
        """Note what is wrong with it beside the types."""
        check_reason(self.reason, faults)


def check_reason(reason: str, faults: Faults) -> None:
    """Hold what a person says about a move to its limit."""
    if len(reason) > limits.REASON_CHARS_MAX:
        allowed = f"allowed are up to {limits.REASON_CHARS_MAX}"
        faults.add("/reason", f"has {len(reason)} characters; {allowed}")


class CompensateRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to undo, and why. Without `stepID` and `downTo` everything; with `stepID` the step and those that
    depend on it; with `downTo` only those that depend on it, and then the saga stands still as failed. With
    `planId` only if nothing has happened since that plan was made."""

    stepID: OptionalName = ""  # noqa: N815 -- the name on the wire
    downTo: OptionalName = ""  # noqa: N815 -- as above
    planId: str = ""  # noqa: N815 -- as above

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Compensate:
        return m.Compensate(self.stepID, by, self.reason, self.downTo, self.planId, versions)

    def check(self, faults: Faults) -> None:
        super().check(faults)
        if self.stepID and self.downTo:
            faults.add("/downTo", "is there beside stepID: say the one or the other")


class RetryRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why the saga may go on; with `now` an attempt that is planned for later is made at once."""

    now: bool = False

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Retry:
        return m.Retry(by, self.reason, versions, self.now)


class ResolveRequest(
    MoveRequest,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"outcome": "as"},
):
    """What became of the step, by an operator's word, and why. `result` is for `done`."""

    stepID: Name  # noqa: N815 -- the name on the wire
    outcome: Resolution
    result: Json = None

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Resolve:
        return m.Resolve(self.stepID, self.outcome, self.result, by, self.reason, versions)


class SkipRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which step counts as done, what it gave, and why."""

    stepID: Name  # noqa: N815 -- the name on the wire
    result: Literally = None

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Skip:
        return m.Skip(self.stepID, self.result, by, self.reason, versions)


class EditRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which step is called with which payload from now on, and why."""

    stepID: Name  # noqa: N815 -- the name on the wire
    payload: Literally

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Edit:
        return m.Edit(self.stepID, self.payload, by, self.reason, versions)

    def check(self, faults: Faults) -> None:
        super().check(faults)
        if has_references(self.payload):
            faults.add("/payload", f"has a {FROM}; it is sent as it is, so say the value itself")
        if _has_redacted(self.payload):
            faults.add("/payload", f'has a "{REDACTED}", which only stands for a value: say that')


class PauseRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why nothing new is to be begun."""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Pause:
        return m.Pause(by, self.reason, versions)


class ResumeRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why it may go on."""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Resume:
        return m.Resume(by, self.reason, versions)


class FinishRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why it ends though it is not undone."""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Finish:
        return m.Finish(by, self.reason, versions)


class RerunRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why it is run again."""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Rerun:
        return m.Rerun("", by, self.reason, versions)


class DeleteRequest(MoveRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why it is removed; over HTTP that is said in the query."""

    def wish(self, by: str, versions: tuple[int, ...] = ()) -> m.Delete:
        return m.Delete(by, self.reason, None, versions)


def _has_redacted(value: object) -> bool:
    """Is the mark of what is not shown in it, which somebody copied with the rest?"""
    todo: Final = [value]
    while todo:
        match todo.pop():
            case dict() as members:
                todo.extend(members.values())
            case list() as items:
                todo.extend(items)
            case str() as text if text == REDACTED:
                return True
    return False
