"""OpenTelemetry: spans of sagas, of their attempts and undos, exported as the OTEL_* variables say.

A span is made when it is over, with the ids that `sagakeep.trace` gives it: nothing has to be kept of spans that
are open, and a restart changes none. The SDK samples them, has a queue with a bound, drops what is beyond it, and
sends what is in it from a thread of its own.

Only who installs `sagakeep[otel]` and sets the variables has any of it: else nothing is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from sagakeep import saga_status
from sagakeep.saga_status import FINAL, HELD, MOVING
from sagakeep.service import DONE, AttemptResult, Call
from sagakeep.state import SagaState, SagaStatus
from sagakeep.trace import (
    TraceContext,
    attempt_span_id,
    context_of,
    parent_span_id,
    saga_span_id,
    trace_id_of,
    traceparent_of,
    undo_span_id,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanKind

FLUSH_MS_MAX: Final = 5_000  # at the end of the process
NAME: Final = "sagakeep"

Attributes = Mapping[str, str | int | float]

_log: Final = logging.getLogger(__name__)


class NotWanted(Exception):
    """The variables ask for no traces; with words, if they ask for what is not to be had."""


def telemetry_of(environ: Mapping[str, str]) -> Telemetry | None:
    """What the variables ask for, None where they ask for no traces. Imports OpenTelemetry only then."""
    try:
        check_wanted(environ)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except NotWanted as error:
        if str(error):
            _log.warning("no traces are sent: %s", error)
        return None
    except ImportError as error:
        _log.warning(
            "no traces are sent: OTEL_ variables ask for them, but install sagakeep[otel]: %s",
            error,
        )
        return None
    return Telemetry(OTLPSpanExporter())


def check_wanted(environ: Mapping[str, str]) -> None:
    """Raise NotWanted unless the variables ask for traces, by an endpoint or by OTEL_TRACES_EXPORTER."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    has_endpoint = any(
        environ.get(name)
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or exporter == "none" or not (exporter or has_endpoint):
        raise NotWanted
    if exporter not in ("", "otlp"):
        raise NotWanted(f"OTEL_TRACES_EXPORTER is {exporter!r}; expected otlp, or none")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environ.get(name, "").strip().lower()
        if protocol not in ("", "http/protobuf"):
            raise NotWanted(f"{name} is {protocol!r}; expected http/protobuf")


class _Turned(NamedTuple):
    """A saga that is being undone: since when, and whether the span of its run was made before that."""

    at_utc_s: float
    is_told: bool


class _Told(NamedTuple):
    """A saga that was held: the run whose span was made then, and whether that of its undo was, too."""

    run: int
    has_undo: bool


class _Span(NamedTuple):
    """A span that is over; `parent` is None for the first of a trace."""

    name: str
    trace_id: str
    span_id: str
    parent: TraceContext | None
    began_utc_s: float
    ended_utc_s: float
    attributes: Attributes
    error: str | None  # None: it went well


class Telemetry:
    """Makes spans for an exporter: a `sagakeep.tracer.Tracer`. For one thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class Ids(IdGenerator):
            """The ids of the next span."""

            span_id = trace_id = 0

            def generate_span_id(self) -> int:
                return self.span_id

            def generate_trace_id(self) -> int:
                return self.trace_id

        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: NAME}))
        self._ids = Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(NAME)
        self._turned: dict[str, _Turned] = {}  # both of live sagas only
        self._told: dict[str, _Told] = {}

    def flush(self) -> bool:
        """Send what waits. Blocks, for FLUSH_MS_MAX at most."""
        return self._provider.force_flush(FLUSH_MS_MAX)

    def close(self) -> None:
        """Send what waits, and end. Blocks."""
        self.flush()
        self._provider.shutdown()

    # Attempts

    def traced(self, call: Call) -> Call:
        """The call with the span of this attempt as its traceparent."""
        trace_id = trace_id_of(call.saga_id, call.traceparent)
        sampled = self._is_sampled(trace_id, call.traceparent, call.saga_name)
        context = TraceContext(trace_id, attempt_span_id(call), sampled)
        return msgspec.structs.replace(call, traceparent=traceparent_of(context))

    def attempted(self, call: Call, result: AttemptResult, ended_at_utc_s: float) -> None:
        """Make the span of an attempt."""
        from opentelemetry.trace import SpanKind

        trace_id = trace_id_of(call.saga_id, call.traceparent)
        if not self._is_sampled(trace_id, call.traceparent, call.saga_name):
            return
        attributes: dict[str, str | int | float] = {
            "saga.id": call.saga_id,
            "saga.name": call.saga_name,
            "saga.step": call.step_id,
            "saga.phase": call.phase,
            "saga.attempt": call.attempt,
            "saga.idempotency_key": call.idempotency_key,
            "saga.outcome": result.outcome.value,
            "peer.service": call.service,
        }
        if result.rule:
            attributes["saga.rule"] = result.rule
        self._make(
            _Span(
                f"{call.service}.{call.action}",
                trace_id,
                attempt_span_id(call),
                TraceContext(trace_id, parent_span_id(call), is_sampled=True),
                ended_at_utc_s - result.latency_s,
                ended_at_utc_s,
                attributes,
                None if result.outcome is DONE else result.error,
            ),
            SpanKind.CLIENT,
        )

    # Sagas

    def moved(self, before: SagaStatus | None, state: SagaState) -> None:
        """Make the spans of an undo and of a run that are over."""
        status = state.status
        if state.deleted:
            self._turned.pop(state.id, None)
            self._told.pop(state.id, None)
        elif status is saga_status.COMPENSATING:
            self._turned[state.id] = _Turned(state.updated_at_utc_s, before in FINAL)
        else:
            self._moved(before, state)

    def _moved(self, before: SagaStatus | None, state: SagaState) -> None:
        """A saga is not being undone, or not any more. A run that was held is told then, and not again."""
        told, turned = self._told.get(state.id), None
        if told is not None and told.run != state.retry_count:
            told = None
        if before is saga_status.COMPENSATING:
            turned = self._turned.pop(state.id, None) or _turned_before(state)
            if told is None or not told.has_undo:
                self._make_of_saga(state, _undo_span(state, turned))
        if state.status in MOVING:
            return
        if told is None and not (turned and turned.is_told):
            self._make_of_saga(state, _run_span(state))
        if state.status in HELD:
            has_undo = turned is not None or (told is not None and told.has_undo)
            self._told[state.id] = _Told(state.retry_count, has_undo)
        else:
            self._told.pop(state.id, None)

    def _make_of_saga(self, state: SagaState, span: _Span) -> None:
        from opentelemetry.trace import SpanKind

        if self._is_sampled(span.trace_id, state.traceparent, state.definition.name):
            self._make(span, SpanKind.INTERNAL)

    # Spans

    def _is_sampled(self, trace_id: str, traceparent: str, name: str) -> bool:
        """Ask the sampler as for the first span of the saga: it gives each span of a trace the same answer."""
        from opentelemetry.sdk.trace.sampling import Decision

        parent = _in_context(context_of(traceparent))
        asked = self._provider.sampler.should_sample(parent, int(trace_id, 16), name)
        return asked.decision is Decision.RECORD_AND_SAMPLE

    def _make(self, span: _Span, kind: SpanKind) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._ids.trace_id, self._ids.span_id = int(span.trace_id, 16), int(span.span_id, 16)
        made = self._tracer.start_span(
            span.name,
            _in_context(span.parent),
            kind,
            dict(span.attributes),
            start_time=round(span.began_utc_s * 1e9),
        )
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(round(max(span.began_utc_s, span.ended_utc_s) * 1e9))


def _in_context(parent: TraceContext | None) -> Context:
    """Where a child of this span is made, outside of any other span."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    ids = int(parent.trace_id, 16), int(parent.span_id, 16)
    return set_span_in_context(
        NonRecordingSpan(SpanContext(*ids, is_remote=True, trace_flags=flags)), Context()
    )


def _run_span(state: SagaState) -> _Span:
    is_done = state.status is saga_status.COMPLETED
    is_wished = state.status is saga_status.COMPENSATED and state.reason == "request"
    return _Span(
        f"saga {state.definition.name}",
        trace_id_of(state.id, state.traceparent),
        saga_span_id(state.id, state.retry_count),
        context_of(state.traceparent),
        _run_began_utc_s(state),
        state.updated_at_utc_s,
        _attributes(state),
        None if is_done or is_wished else state.error or state.reason or state.status.value,
    )


def _undo_span(state: SagaState, turned: _Turned) -> _Span:
    trace_id = trace_id_of(state.id, state.traceparent)
    run = state.retry_count
    return _Span(
        f"undo {state.definition.name}",
        trace_id,
        undo_span_id(state.id, run),
        TraceContext(trace_id, saga_span_id(state.id, run), is_sampled=True),
        turned.at_utc_s,
        state.updated_at_utc_s,
        {**_attributes(state), "saga.reason": state.reason},
        state.error if state.status is saga_status.COMPENSATION_FAILED else None,
    )


def _attributes(state: SagaState) -> dict[str, str | int | float]:
    return {
        "saga.id": state.id,
        "saga.name": state.definition.name,
        "saga.status": state.status.value,
        "saga.run": state.retry_count,
    }


def _run_began_utc_s(state: SagaState) -> float:
    """The creation, or when an operator let the saga go on: its deadline was made then."""
    if not state.retry_count:
        return state.created_at_utc_s
    return max(state.created_at_utc_s, state.deadline_utc_s - state.definition.timeout_s)


def _turned_before(state: SagaState) -> _Turned:
    """What the state tells of a saga that turned back in an earlier process: when the first undo was begun."""
    undos = [step.compensation.started_at_utc_s for step in state.steps.values()]
    at_utc_s = min((one for one in undos if one), default=state.updated_at_utc_s)
    was_done = state.completed_at_utc_s > 0.0
    was_held = state.status is saga_status.COMPENSATED and bool(state.error)
    return _Turned(at_utc_s, was_done or was_held)
