"""The tree of errors: each says when it is raised and what the caller can do.

Operating errors are exceptions of this tree; errors of the programmer are asserts and end the actor.
Nothing here knows of HTTP: `sagakeep.http.problems` gives each class its status code.
"""

from __future__ import annotations

from typing import NamedTuple


class SagakeepError(Exception):
    """Root of every error that sagakeep raises on purpose; its text is meant for a person."""


class Fault(NamedTuple):
    """One thing that is wrong with a document.

    `pointer` is a JSON Pointer (RFC 6901) into the document, `""` for the whole; `detail` says what is
    wrong, what was found and the limit.
    """

    pointer: str
    detail: str


class MalformedJson(SagakeepError):
    """The bytes are not the JSON we read: mend the document. Raised before anything is looked at.

    `line` and `column` count from 1; 0 is for what is wrong at no single place.
    """

    def __init__(self, detail: str, line: int = 0, column: int = 0) -> None:
        self.detail = detail
        self.line = line
        self.column = column
        super().__init__(f"{detail}: line {line} column {column}" if line else detail)


class InvalidDefinition(SagakeepError):
    """A document breaks the rules of a saga definition; `faults` lists all of them at once."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.detail}" for fault in faults))


class PlacedFault(NamedTuple):
    """A fault, and where in the text it is: line and column from 1, 0 where nobody can say."""

    pointer: str
    detail: str
    line: int
    column: int


class BrokenFile(SagakeepError):
    """A file is not what a command was promised: mend what its `faults` list, all of them at once."""

    def __init__(self, name: str, faults: list[PlacedFault]) -> None:
        self.name = name
        self.faults = faults
        super().__init__(f"{name} is broken")


class SagaNotFound(SagakeepError):
    """No saga has this id (or it was deleted)."""

    def __init__(self, saga_id: str) -> None:
        self.saga_id = saga_id
        super().__init__(f"there is no saga {saga_id!r}")


class ServiceNotFound(SagakeepError):
    """No service of this name is configured."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"there is no service {name!r}; configured are {', '.join(known) or 'none'}"
        )


class SagaNotThen(SagaNotFound):
    """The saga was not there at that moment, or has not come so far: choose another moment."""

    def __init__(self, detail: str) -> None:
        SagakeepError.__init__(self, detail)


class InvalidMoment(SagakeepError):
    """What is said to be a moment is none: give the number of an event, or a time."""


class SagaExists(SagakeepError):
    """The id was used before: choose another, or read the saga that has it."""

    def __init__(
        self, saga_id: str, detail: str = "choose another id, or GET the saga that has it"
    ) -> None:
        self.saga_id = saga_id
        super().__init__(f"the id {saga_id!r} is taken: {detail}")


class IdempotencyKeyReused(SagakeepError):
    """The same Idempotency-Key came with another body: use a new key for a new saga."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} was used with another body: use a new key for a new saga"
        )


class MoveRefused(SagakeepError):
    """The saga's status does not allow the wish; `allowed` names the moves that it does allow."""

    def __init__(
        self, saga_id: str, status: str, move: str, why: str, allowed: tuple[str, ...]
    ) -> None:
        self.saga_id = saga_id
        self.status = status
        self.move = move
        self.why = why
        self.allowed = allowed
        super().__init__(
            f"cannot {move} saga {saga_id!r}: {why}; allowed now: {', '.join(allowed) or 'nothing'}"
        )


class SagaMoved(MoveRefused):
    """The saga has moved on since the version that the wish was for: look again, then decide again."""


class PlanRefused(SagakeepError):
    """The plan is too old, or was of something else: plan again, look at it, then decide again."""


class UnknownStep(SagakeepError):
    """The saga has no step of this id."""

    def __init__(self, saga_id: str, step_id: str, known: tuple[str, ...]) -> None:
        self.step_id = step_id
        super().__init__(
            f"saga {saga_id!r} has no step {step_id!r}; its steps are {', '.join(known)}"
        )


class Unavailable(SagakeepError):
    """Not now: recovering, at capacity, stopping or out of disk. Nothing was done; try again later."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class InDoubt(SagakeepError):
    """The process ends, and whether the wish became durable is unknown: ask again under the same key, or look."""


class ConfigurationError(SagakeepError):
    """A setting is wrong; the text says which, where it came from and what would be right."""


class JournalError(SagakeepError):
    """Root of what can be wrong with the data directory."""


class JournalLocked(JournalError):
    """Another process holds the data directory: stop it, or use another directory."""


class JournalCorrupt(JournalError):
    """Bytes that were once durable are wrong; the start is refused with the file, offset and reason.

    `record` is where in the frame's body the record begins that does not follow from the ones before; None when
    it is not about a record, but about bytes.
    """

    def __init__(self, file: str, offset: int, reason: str, record: int | None = None) -> None:
        self.file = file
        self.offset = offset
        self.reason = reason
        self.record = record
        super().__init__(f"{file}: offset {offset}: {reason}")


class JournalBroken(JournalError, InDoubt):
    """A write or fsync failed: what it covered is in doubt, nothing more may be appended. Restart."""


class BackupRefused(JournalError):
    """A backup cannot be made here, or what is to be restored is none; what was there stays as it was."""


class DiskFull(JournalError):
    """No space for the next segment; nothing was written, so the append may be made again later."""


class ServerUnreachable(SagakeepError):
    """No server answers at the address that a command was given: start one, or give another address."""


class RequestRefused(SagakeepError):
    """A server answered a command with an error. `problem` is its body, `retry_after` its wish, or ""."""

    def __init__(
        self, status: int, detail: str, problem: object = None, retry_after: str = ""
    ) -> None:
        self.status = status
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(f"{detail}; try again in {retry_after} s" if retry_after else detail)


class AccessRefused(RequestRefused):
    """The server does not know the key, or its role does not allow that: use another key."""


class NoSuchThing(RequestRefused):
    """The server has nothing of that name."""


class MoveNotAllowed(RequestRefused):
    """The state of the saga does not allow the move; nothing was changed."""


class ServerBusy(RequestRefused):
    """The server takes nothing more for now, or is starting or stopping: try again later."""
