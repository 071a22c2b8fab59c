"""Spans by the real SDK: of sagas that run, are killed, go on and are undone; and sent by the real exporter."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trio
from keeper import LeanDisk, Ledger, begin, begin_and_wait, keeping
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from served import Server
from shop import saga, step
from trio.testing import MockClock

from sagakeep import telemetry
from sagakeep.actors.tracing import LOST
from sagakeep.errors import MoveRefused
from sagakeep.orchestrator import Orchestrator
from sagakeep.service import AttemptResult, Call
from sagakeep.state import FINAL, SagaState, SagaStatus
from sagakeep.telemetry import Telemetry, telemetry_of
from sagakeep.trace import saga_span_id, trace_id_of
from sagakeep.validation import parse_definition

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{CALLER}-01"
SOON = {"initialInterval": 5, "maxInterval": 5}


class Recorder:
    """A tracer, and the spans that it made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = Telemetry(self.exporter)

    def spans(self) -> list[ReadableSpan]:
        assert self.tracer.flush()
        return list(self.exporter.get_finished_spans())

    def by_name(self) -> dict[str, ReadableSpan]:
        return {one.name: one for one in self.spans()}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.tracer.close()


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str:
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def traced(sagas: Orchestrator, *steps: dict[str, object], **more: object) -> SagaState:
    document = parse_definition(saga(*steps, **more), None)
    started = await sagas.start(document, traceparent=GIVEN)
    return await sagas.wait(started.saga.id, timeout_s=3600)


# Of one process


async def test_a_saga_is_a_span_below_its_caller_and_its_attempts_are_below_it(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, tracer=recorder.tracer) as sagas:
        await traced(sagas, step("a", "flaky", retry=SOON), step("b", "slow"), id="s")
    spans = recorder.spans()
    assert [one.name for one in spans] == ["shop.flaky", "shop.flaky", "shop.slow", "saga order"]
    *attempts, run = spans
    assert {trace_id(one) for one in spans} == {TRACE}
    assert parent_id(run) == CALLER
    assert {parent_id(one) for one in attempts} == {span_id(run)} == {saga_span_id("s", 0)}
    assert len({span_id(one) for one in spans}) == 4
    assert [one.attributes["saga.attempt"] for one in attempts if one.attributes] == [1, 2, 1]
    assert [one.status.is_ok for one in spans] == [False, True, True, True]
    assert attempts[0].status.description == "busy"
    assert seconds(attempts[2]) == pytest.approx(1.0)
    assert seconds(run) == pytest.approx(
        3.5, abs=0.01
    )  # half of the wait, and the second of the slow one
    assert {one.kind for one in attempts} == {SpanKind.CLIENT}


async def test_a_service_sees_its_attempt_as_the_parent(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, tracer=recorder.tracer) as sagas:
        await traced(sagas, step("a", "flaky", retry=SOON), step("b", "fail"))
    *spans, _undo, _run = recorder.spans()
    assert [call.traceparent for call in ledger.calls] == [
        f"00-{TRACE}-{span_id(one)}-01" for one in spans
    ]


async def test_an_undo_is_a_span_with_its_compensations(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        state = await traced(sagas, step("a", compensation="slow"), step("b", "fail"), id="s")
        assert state.status is SagaStatus.COMPENSATED
    spans = recorder.by_name()
    undo, run = spans["undo order"], spans["saga order"]
    assert parent_id(spans["shop.slow"]) == span_id(undo)
    assert parent_id(undo) == parent_id(spans["shop.fail"]) == span_id(run)
    assert seconds(undo) == pytest.approx(1.0)
    assert undo.status.is_ok
    assert not run.status.is_ok
    assert run.attributes is not None
    assert run.attributes["saga.status"] == "compensated"


async def test_a_timeout_is_the_end_of_an_attempt(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        await begin_and_wait(sagas, step("a", "gated", timeout=3, maxRetries=0, compensation="do"))
    attempt = recorder.by_name()["shop.gated"]
    assert seconds(attempt) == pytest.approx(3.0)
    assert attempt.status.description == "no reply within 3 s"
    assert attempt.attributes is not None
    assert attempt.attributes["saga.rule"] == "no reply in time"


async def test_a_saga_without_a_caller_begins_a_trace(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        state = await begin_and_wait(sagas, step("a"))
    spans = recorder.spans()
    assert {trace_id(one) for one in spans} == {trace_id_of(state.id, "")}
    assert [parent_id(one) for one in spans] == [span_id(spans[-1]), ""]


async def test_each_run_that_an_operator_began_is_a_span(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, tracer=recorder.tracer) as sagas:
        held = await traced(sagas, step("a", "fail"), id="s", onFailure="hold")
        assert held.status is SagaStatus.FAILED
        await trio.sleep(100)
        ledger.fail = ledger.slow  # type: ignore[method-assign] # the service is mended
        sagas._engine.gateways["shop"].caller._methods.clear()  # type: ignore[attr-defined]
        await sagas.retry("s")
        assert (await sagas.wait("s", 3600)).status is SagaStatus.COMPLETED
    runs = [one for one in recorder.spans() if one.name == "saga order"]
    assert [span_id(one) for one in runs] == [saga_span_id("s", run) for run in (0, 1)]
    assert [parent_id(one) for one in runs] == [CALLER] * 2
    assert [one.status.is_ok for one in runs] == [False, True]
    assert seconds(runs[1]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("undo", ["do", "fail"])
async def test_a_late_undo_is_a_span_and_the_run_is_not_told_twice(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder, undo: str
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        await traced(sagas, step("a", compensation=undo), id="s")
        await trio.sleep(100)
        await sagas.compensate("s")
        state = await sagas.wait("s", 3600)
        assert state.status is (
            SagaStatus.COMPENSATED if undo == "do" else SagaStatus.COMPENSATION_FAILED
        )
        await sagas.delete("s")
    names = [one.name for one in recorder.spans()]
    assert names == ["shop.do", "saga order", f"shop.{undo}", "undo order"]
    assert recorder.by_name()["undo order"].status.is_ok is (undo == "do")


async def test_a_saga_that_is_deleted_while_it_is_held_leaves_nothing_behind(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        state = await traced(sagas, step("a", compensation="fail"), step("b", "fail"))
        assert state.status is SagaStatus.COMPENSATION_FAILED
        await sagas.delete(state.id)
    assert recorder.tracer._turned == recorder.tracer._told == {}


@pytest.mark.parametrize("move", ["resolve", "skip", "finish"])
async def test_a_run_that_was_held_and_goes_on_by_hand_is_told_once(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder, move: str
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        await traced(sagas, step("a", "fail"), step("b"), id="s", onFailure="hold")
        await _moved_by_hand(sagas, move)
        assert (await sagas.wait("s", 3600)).status in FINAL
    runs = [one for one in recorder.spans() if one.name == "saga order"]
    assert [one.status.is_ok for one in runs] == [False]
    assert recorder.tracer._told == {}


async def _moved_by_hand(sagas: Orchestrator, move: str) -> None:
    match move:
        case "resolve":
            await sagas.resolve("s", "a", "done")
        case "skip":
            await sagas.skip("s", "a")
        case "finish":
            await sagas.finish("s")


async def test_an_undo_that_was_held_and_goes_on_by_hand_is_told_once(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        await traced(sagas, step("a", compensation="fail"), step("b", "fail"), id="s")
        await sagas.resolve("s", "a", "undone")
        assert (await sagas.wait("s", 3600)).status is SagaStatus.COMPENSATED
    names = [one.name for one in recorder.spans()]
    assert names.count("undo order") == names.count("saga order") == 1
    assert recorder.tracer._told == recorder.tracer._turned == {}


async def test_what_the_caller_does_not_sample_is_not_sampled(
    tmp_path: Path, autojump_clock: MockClock, recorder: Recorder
) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, tracer=recorder.tracer) as sagas:
        document = parse_definition(saga(step("a"), id="s"), None)
        await sagas.start(document, traceparent=GIVEN.removesuffix("1") + "0")
        await sagas.wait("s", 3600)
    assert recorder.spans() == []
    (call,) = ledger.calls
    assert call.traceparent.startswith(f"00-{TRACE}-")
    assert call.traceparent.endswith("-00")
    assert CALLER not in call.traceparent


async def test_a_sampler_of_the_environment_gives_a_saga_whole_or_not_at_all(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    recorder = Recorder()
    async with keeping(tmp_path, tracer=recorder.tracer) as sagas:
        for number in range(40):
            await begin_and_wait(sagas, step("a"), step("b"), id=f"s{number}")
    spans = recorder.spans()
    traces = [trace_id(one) for one in spans]
    assert 5 < len(set(traces)) < 35
    assert all(traces.count(one) == 3 for one in traces)
    recorder.tracer.close()


# Over a restart


async def test_a_trace_survives_a_restart_in_the_middle(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk, ledger = LeanDisk(), Ledger()
    before, after = Recorder(), Recorder()
    definition = parse_definition(saga(step("a"), step("b", "gated"), id="s"), None)
    async with keeping(tmp_path, disk, {"shop": ledger}, tracer=before.tracer) as sagas:
        await sagas.start(definition, traceparent=GIVEN)
        await trio.sleep(1)
        assert len(ledger.calls) == 2
    disk.kill()
    ledger.gate.set()
    async with keeping(tmp_path, disk, {"shop": ledger}, tracer=after.tracer) as sagas:
        assert (await sagas.wait("s", 3600)).status is SagaStatus.COMPLETED
    first, second = before.spans(), after.spans()
    assert [one.name for one in first] == ["shop.do"]
    assert [one.name for one in second] == ["shop.gated", "saga order"]
    run = second[-1]
    assert {trace_id(one) for one in first + second} == {TRACE}
    assert {parent_id(one) for one in (first[0], second[0])} == {span_id(run)}
    assert parent_id(run) == CALLER
    gated = [call.traceparent for call in ledger.calls if call.action == "gated"]
    assert gated == [f"00-{TRACE}-{span_id(second[0])}-01"] * 2, "made again, and the same span"
    for recorder in (before, after):
        recorder.tracer.close()


@pytest.mark.parametrize("is_late", [False, True])
async def test_an_undo_survives_a_restart_too(
    tmp_path: Path, autojump_clock: MockClock, is_late: bool
) -> None:
    disk, ledger = LeanDisk(), Ledger()
    before, after = Recorder(), Recorder()
    steps = [step("a", compensation="gated")] + ([] if is_late else [step("b", "fail")])
    async with keeping(tmp_path, disk, {"shop": ledger}, tracer=before.tracer) as sagas:
        saga_id = await begin(sagas, *steps, id="s")
        await trio.sleep(1)
        if is_late:
            await sagas.compensate(saga_id)
        await trio.sleep(1)
        assert ledger.asked("gated")
    disk.kill()
    ledger.gate.set()
    async with keeping(tmp_path, disk, {"shop": ledger}, tracer=after.tracer) as sagas:
        assert (await sagas.wait("s", 3600)).status is SagaStatus.COMPENSATED
    undo = after.by_name()["undo order"]
    assert parent_id(after.by_name()["shop.gated"]) == span_id(undo)
    names = [one.name for one in before.spans() + after.spans()]
    assert names.count("saga order") == names.count("undo order") == 1
    for recorder in (before, after):
        recorder.tracer.close()


# What goes wrong


class Broken:
    """A tracer with a bug."""

    def traced(self, call: Call) -> Call:
        raise ZeroDivisionError

    def attempted(self, call: Call, result: AttemptResult, ended_at_utc_s: float) -> None:
        raise ZeroDivisionError

    def moved(self, before: SagaStatus | None, state: SagaState) -> None:
        raise ZeroDivisionError


async def test_no_bug_of_a_tracer_ends_a_saga(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(tmp_path, tracer=Broken()) as sagas:
        state = await begin_and_wait(sagas, step("a"), step("b", "fail"))
        assert state.status is SagaStatus.COMPENSATED
        with pytest.raises(MoveRefused):
            await sagas.compensate(await _completed(sagas))
        tracing = sagas._engine.tracing
        assert tracing is not None
        assert tracing.failures > 5
    assert caplog.text.count(LOST) == 1


async def _completed(sagas: Orchestrator) -> str:
    state = await begin_and_wait(sagas, step("a", kind="pivot", compensation=""))
    return state.id


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "orders"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "true"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_who_asks_for_no_traces_gets_none(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert telemetry_of(environ) is None
    assert caplog.records == []


@pytest.mark.parametrize("environ", [ENDPOINT, {"OTEL_TRACES_EXPORTER": "otlp"}])
def test_who_asks_for_traces_gets_some(environ: dict[str, str]) -> None:
    found = telemetry_of(environ)
    assert found is not None
    found.close()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "'zipkin'; expected otlp"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc'; expected http/protobuf"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "'http/json'"),
    ],
)
def test_what_cannot_be_sent_is_told_and_the_server_runs(
    environ: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert telemetry_of(environ) is None
    assert words in caplog.text


def test_without_the_extra_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert telemetry_of({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "install sagakeep[otel]" in caplog.text


def test_nothing_is_imported_that_is_not_wanted() -> None:
    script = (
        "import sys, sagakeep.serve, sagakeep.telemetry as t\n"
        "assert t.telemetry_of({}) is None\n"
        "assert not [one for one in sys.modules if one.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# By the real exporter


class Collector(HTTPServer):
    """Takes what an OpenTelemetry collector takes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.requests: list[ExportTraceServiceRequest] = []
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()

    def spans(self) -> dict[str, tuple[str, str]]:
        """Name to service and trace."""
        return {
            span.name: (
                next(
                    one.value.string_value
                    for one in resource.resource.attributes
                    if one.key == "service.name"
                ),
                span.trace_id.hex(),
            )
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("more", "name"), [({}, "sagakeep"), ({"OTEL_SERVICE_NAME": "orders"}, "orders")]
)
def test_a_server_sends_what_it_did_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], name: str
) -> None:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    for key, value in more.items():
        monkeypatch.setenv(key, value)
    try:
        server = Server(tmp_path / "data", "--demo")
        try:
            server.ready()
            one = {"id": "ship", "service": "shipping", "action": "ship", "compensation": "cancel"}
            server.post({"id": "s", "name": "order", "steps": [one]}, wait_s=20)
            assert server.end() == 0
        finally:
            server.close()
        assert collector.spans() == {
            "shipping.ship": (name, trace_id_of("s", "")),
            "saga order": (name, trace_id_of("s", "")),
        }
    finally:
        collector.close()


async def test_spans_beyond_the_bound_are_dropped_and_sagas_do_not_wait(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    sending, may_send = threading.Event(), threading.Event()

    class Slow(InMemorySpanExporter):
        def export(self, spans: object) -> object:  # type: ignore[override] # passed on as it is
            sending.set()
            may_send.wait(20)
            return super().export(spans)  # type: ignore[arg-type]

    exporter = Slow()
    tracer = Telemetry(exporter)
    async with keeping(tmp_path, tracer=tracer) as sagas:
        for number in range(30):
            await begin_and_wait(sagas, step("a"), id=f"s{number}")
    may_send.set()
    assert sending.is_set()
    tracer.close()
    assert 4 <= len(exporter.get_finished_spans()) <= 12


def test_the_bounds_of_the_end_fit_into_each_other() -> None:
    from sagakeep import serve

    assert telemetry.FLUSH_MS_MAX / 1000 < serve.TELEMETRY_S_MAX


def test_a_line_of_the_log_has_the_trace_that_the_services_see(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from sagakeep.log_fields import fields_of_call

    call = Call("s", "order", "a", "shop", "do", "action", 2, "s/a/action/1", None, 1.0)
    fields = fields_of_call(call)
    with caplog.at_level(logging.ERROR):
        logging.getLogger("sagakeep.x").error("failed", extra=fields)
    assert json.loads(json.dumps(fields)) == {
        "saga": "s",
        "step": "a",
        "service": "shop",
        "attempt": 2,
        "traceId": trace_id_of("s", ""),
    }
