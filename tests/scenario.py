"""Golden traces: a saga's whole story as text, what went in and what came of it.

    # A comment.                        kept as it is
    {"name": "order", "steps": [...]}   the definition, JSON up to the first empty line

    > 12.5 b timeout                    at 12.5 s: a message; all lines below it are what came of it
      step_retry b attempt=1 ...        the events, with the fields that are not their defaults
      = running  a completed done, b retrying unknown
      ! wait until 14                   what is outstanding then

Messages: create, wake, compensate [STEP], down STEP (compensate down to it), retry, resolve STEP AS [JSON],
skip STEP [JSON], edit STEP JSON, pause, resume, finish, rerun ID, delete, restarted ERROR, hold ERROR,
crash (all is forgotten and folded again from the encoded records), and the end of an attempt:
STEP[.undo|.probe], then `done [JSON]`, `refused`, `unavailable` or `timeout`, then any of `retry-after S`,
`draw D`, `attempt N`, `epoch N`, `late`, `again`. Attempt and epoch are those outstanding unless said otherwise.
An attempt that a crash interrupted ends `again` by itself. Times are seconds after an hour in 2023; a draw is 1
unless said otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from sagakeep import messages as m
from sagakeep.codec import decode_record, decode_state, encode_record, encode_state
from sagakeep.effects import RunCall, call_of, outstanding
from sagakeep.errors import SagakeepError
from sagakeep.events import EVENT_NAMES, Event, Record
from sagakeep.machine import Decision, create, decide
from sagakeep.service import AttemptResult, Outcome, Phase
from sagakeep.state import SagaState
from sagakeep.transitions import fold
from sagakeep.validation import parse_definition

START_UTC_S = 1_700_000_000.0

_PHASES: dict[str, Phase] = {"": "action", "undo": "compensation", "probe": "probe"}
_RESULTS = {
    "refused": AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True),
    "unavailable": AttemptResult(Outcome.NOT_DONE, error="unavailable"),
    "timeout": AttemptResult(Outcome.UNKNOWN, error="timed out"),
}


class Saga:
    """One saga without a world: every decision is encoded, and read back before it is believed."""

    def __init__(self, document: object) -> None:
        self.definition = parse_definition(document, None)
        self.state: SagaState | None = None
        self.records: list[bytes] = []
        self.interrupted: set[RunCall] = set()

    @property
    def now(self) -> SagaState:
        assert self.state is not None
        return self.state

    def create(self, at_s: float = 0.0) -> list[Event]:
        wish = m.Create("s", self.definition)
        return self.take(create(wish, START_UTC_S + at_s))

    def tell(self, message: m.Message, at_s: float) -> list[Event]:
        """Return the events of the decision. Raises what it raises."""
        state, before = self.now, encode_state(self.now, (0, 0))
        try:
            return self.take(decide(state, message, START_UTC_S + at_s))
        finally:
            assert encode_state(state, (0, 0)) == before, "deciding changes nothing"

    def take(self, decision: Decision) -> list[Event]:
        if decision.events:
            sequence = decision.state.sequence - len(decision.events) + 1
            at_utc_s = decision.state.updated_at_utc_s
            record = Record("s", sequence, at_utc_s, None, tuple(decision.events))
            self.records.append(encode_record(record))
            assert decode_record(self.records[-1]) == record
            assert fold(self.state, record) == decision.state
        self.state = decision.state
        return list(decision.events)

    def crash(self) -> None:
        """Forget everything but the records; what was outstanding may have been made."""
        effects = outstanding(self.now)
        state = self._refolded(len(self.records))
        assert state == self.now
        assert outstanding(state) == effects
        assert decode_state(encode_state(state, (1, 2))) == (state, (1, 2))
        self.state = state
        self.interrupted |= {effect for effect in effects if isinstance(effect, RunCall)}

    def _refolded(self, count: int) -> SagaState:
        state = None
        for data in self.records[:count]:
            state = fold(state, decode_record(data))
        assert state is not None
        return state

    def events(self) -> list[Event]:
        """Everything that happened, as the journal has it."""
        return [event for data in self.records for event in decode_record(data).events]

    def calls(self) -> list[RunCall]:
        """The attempts that are outstanding."""
        return [effect for effect in outstanding(self.now) if isinstance(effect, RunCall)]

    def ended(
        self, step_id: str, result: AttemptResult, phase: Phase = "action", draw: float = 1.0
    ) -> m.AttemptEnded:
        """The end of the attempt that is outstanding."""
        (effect,) = [e for e in self.calls() if (e.step_id, e.phase) == (step_id, phase)]
        repeated = effect in self.interrupted
        return m.AttemptEnded(
            step_id, phase, effect.epoch, effect.attempt, result, draw, repeated=repeated
        )


def retold(text: str) -> str:
    """Play a scenario and return it with all that comes of it written anew."""
    head, _, rest = text.partition("\n\n")
    lines = head.splitlines()
    document = "\n".join(line for line in lines if not line.startswith("#"))
    saga = Saga(json.loads(document))
    told = [head, ""]
    for line in rest.splitlines():
        if line.startswith("#"):
            told.append(line)
        elif line.startswith("> "):
            told += [line, *_told(saga, line[2:])]
        elif not line.strip() and told[-1]:
            told.append("")
    return "\n".join(told).rstrip() + "\n"


def _told(saga: Saga, line: str) -> Iterator[str]:
    try:
        events = _played(saga, line)
    except SagakeepError as error:
        yield f"  refused: {error}"
        return
    for event in events:
        yield "  " + _event_text(event)
    yield "  = " + _state_text(saga.now)
    for effect in outstanding(saga.now):
        if isinstance(effect, RunCall):
            yield "  ! " + _call_text(saga.now, effect)
        else:
            yield f"  ! wait until {_time_text(effect.at_utc_s)}"


def _played(saga: Saga, line: str) -> list[Event]:
    at, verb, *rest = line.split(" ", 2)
    text = rest[0] if rest else ""
    at_s = float(at)
    match verb:
        case "create":
            return saga.create(at_s)
        case "crash":
            saga.crash()
            return []
        case "wake":
            return saga.tell(m.Wake(), at_s)
        case "compensate":
            return saga.tell(m.Compensate(text, "alice"), at_s)
        case "retry":
            return saga.tell(m.Retry("alice", now=text == "now"), at_s)
        case "resolve":
            step_id, resolution, *result = text.split(" ", 2)
            value = json.loads(result[0]) if result else None
            return saga.tell(m.Resolve(step_id, resolution, value, "alice"), at_s)
        case "down":
            return saga.tell(m.Compensate("", "alice", down_to=text), at_s)
        case "skip":
            step_id, *result = text.split(" ", 1)
            value = json.loads(result[0]) if result else None
            return saga.tell(m.Skip(step_id, value, "alice"), at_s)
        case "edit":
            step_id, payload = text.split(" ", 1)
            return saga.tell(m.Edit(step_id, json.loads(payload), "alice"), at_s)
        case "pause":
            return saga.tell(m.Pause("alice"), at_s)
        case "resume":
            return saga.tell(m.Resume("alice"), at_s)
        case "finish":
            return saga.tell(m.Finish("alice"), at_s)
        case "rerun":
            return saga.tell(m.Rerun(text, "alice"), at_s)
        case "delete":
            return saga.tell(m.Delete("alice"), at_s)
        case "restarted":
            return saga.tell(m.Restarted(text), at_s)
        case "hold":
            return saga.tell(m.Hold(text), at_s)
        case _:
            return saga.tell(_attempt_ended(saga, verb, text), at_s)


def _attempt_ended(saga: Saga, target: str, text: str) -> m.AttemptEnded:
    step_id, _, kind = target.partition(".")
    phase = _PHASES[kind]
    word, _, rest = text.partition(" ")
    result = _RESULTS.get(word)
    if result is None:
        assert word == "done", f"{text!r}: no outcome"
        value, rest = _json_first(rest)
        result = AttemptResult(Outcome.DONE, value)
    options = rest.split()
    given = {
        name: float(value)
        for name, value in pairwise(options)
        if name in ("retry-after", "draw", "attempt", "epoch")
    }
    if "retry-after" in given:
        result = msgspec.structs.replace(result, retry_after_s=given["retry-after"])
    effects = [e for e in saga.calls() if (e.step_id, e.phase) == (step_id, phase)]
    effect = effects[0] if effects else RunCall(step_id, phase, 1, 1)
    return m.AttemptEnded(
        step_id,
        phase,
        int(given.get("epoch", effect.epoch)),
        int(given.get("attempt", effect.attempt)),
        result,
        given.get("draw", 1.0),
        late="late" in options,
        repeated="again" in options or effect in saga.interrupted,
    )


def _json_first(text: str) -> tuple[object, str]:
    if not text or text[0].isalpha():
        return None, text
    value, end = json.JSONDecoder().raw_decode(text)
    return value, text[end:]


def _event_text(event: Event) -> str:
    words = [EVENT_NAMES[type(event)][0]]
    defaults = dict(
        zip(event.__struct_fields__[::-1], event.__struct_defaults__[::-1], strict=False)
    )
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if field == "definition" or (field in defaults and value == defaults[field]):
            continue
        if field == "step_id":
            words.append(value or '""')
        elif field.endswith("_utc_s"):
            words.append(f"{field.removesuffix('_utc_s')}={_time_text(value)}")
        else:
            words.append(f"{field}={value if isinstance(value, float) else json.dumps(value)}")
    return " ".join(words)


def _state_text(state: SagaState) -> str:
    steps = []
    for step_id, step in state.steps.items():
        words = [step_id, str(step.status)]
        if step.action.outcome is not None:
            words.append(str(step.action.outcome))
        if step.probing:
            words.append("probing")
        if step.by_hand is not None:
            words.append("skipped" if step.by_hand.skipped else "edited")
        steps.append(" ".join(words))
    deleted = " deleted" if state.deleted else ""
    deleted += " paused" if state.paused is not None else ""
    return f"{state.status}{deleted}: {', '.join(steps)}"


def _call_text(state: SagaState, effect: RunCall) -> str:
    call = call_of(state, effect)
    words = [f"{call.service}.{call.action} attempt={call.attempt} key={call.idempotency_key}"]
    if call.payload != {}:
        words.append(f"payload={json.dumps(call.payload)}")
    if call.outcome is not None:
        words.append(f"outcome={call.outcome}")
    if call.result is not None:
        words.append(f"result={json.dumps(call.result)}")
    if effect.not_before_utc_s:
        words.append(f"not before {_time_text(effect.not_before_utc_s)}")
    return " ".join(words)


def _time_text(at_utc_s: float) -> str:
    return f"{at_utc_s - START_UTC_S:g}" if at_utc_s else "never"
