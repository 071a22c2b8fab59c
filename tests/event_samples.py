"""One event of each kind with no field at its default, for tests that go through all kinds."""

from __future__ import annotations

from sagakeep import events as e
from sagakeep.service import Outcome
from sagakeep.validation import parse_definition

DOCUMENT = {
    "id": "order-1",
    "name": "order",
    "steps": [
        {
            "id": "a",
            "service": "stock",
            "action": "reserve",
            "compensation": "release",
            "payload": {"deep": [None, True, 1, 2.5, "x", {"$from": "saga.id"}]},
            "maxRetries": 2,
            "timeout": 1.5,
            "compensationMaxRetries": 4,
            "compensationPayload": {"id": {"$from": "steps.a.result.id"}},
            "dependsOn": [],
            "inDoubt": "probe",
            "probe": "ask",
            "retry": {"initialInterval": 2, "multiplier": 3, "maxInterval": 4, "maxElapsed": 5},
            "sensitive": ["/card/number"],
        },
        {"id": "p", "service": "mail", "action": "send", "kind": "pivot"},
    ],
    "timeout": 30,
    "maxRetries": 1,
    "onFailure": "hold",
    "tags": {"customer": "c-7"},
}
DEFINITION = parse_definition(DOCUMENT, None)

SAMPLES: list[e.AnyEvent] = [
    e.SagaCreated(DEFINITION, "alice", "key-1", b"\x00\xff", "00-trace", "order-0"),
    e.SagaStarted(1_700_000_030.5),
    e.StepStarted("a", 2, 3, ({"deep": [None, 1.5]},)),
    e.StepCompleted("a", 2, {"id": 2**63}, 0.25),
    e.StepRetry("a", 2, Outcome.UNKNOWN, "timed out", 1_700_000_001.5, 0.25, "HTTP 408"),
    e.StepFailed("a", 2, Outcome.NOT_DONE, "refused", 0.25, True, "HTTP 402"),
    e.StepProbed("a", 1, Outcome.UNKNOWN, [1], "no answer", 1_700_000_002.5, 0.25, "exception"),
    e.SagaCompleted(),
    e.SagaFailed("step 'a' failed: refused"),
    e.SagaCompensating("request", "a", "bob", "wrong address", "p"),
    e.CompensationStarted("a", 2, 3, (None,)),
    e.CompensationRetry("a", 2, Outcome.NOT_DONE, "busy", 1_700_000_003.5, 0.25, "HTTP 429"),
    e.StepCompensated("a", 2, "undone", 0.25),
    e.CompensationExhausted("a", 2, Outcome.UNKNOWN, "timed out", 0.25, "HTTP 500"),
    e.CompensationFailed("a", 2, Outcome.UNKNOWN, "timed out", 0.25, "HTTP 500"),
    e.SagaCompensated(),
    e.SagaRetry("bob", "the card works again"),
    e.LateReply("a", "compensation", 3, 2, Outcome.DONE, {"x": 1}, "late", 0.25, "HTTP 500"),
    e.ActorRestarted("RuntimeError: bug"),
    e.SagaDeleted("bob", "asked for"),
    e.StepResolved("a", "done", {"by": "hand"}, "bob", "seen in the bank's ledger"),
    e.SagaPaused("bob", "the bank is down"),
    e.SagaResumed("bob", "the bank is back"),
    e.StepSkipped("a", {"by": "hand"}, "bob", "sent by post"),
    e.SagaAbandoned("bob", "the shop is closed"),
    e.StepEdited("a", "action", {"street": "Main"}, "bob", "a typo"),
    e.SagaRerun("order-2", "bob", "once more"),
    e.StepHurried("a", "bob", "the bank is back"),
    e.SagaErased("key-1", b"\1\1"),
]
SAMPLE_OF: dict[type[e.Event], e.AnyEvent] = {type(sample): sample for sample in SAMPLES}
