"""The services file: what is read of it, and what is wrong with it."""

from __future__ import annotations

import json

import pytest

from sagakeep.errors import BrokenFile
from sagakeep.proof.promises import Promises, ServicePromise, UndoBy, read_promises
from sagakeep.simulation.ledger import Promise

KNOWN = frozenset({"payment", "inventory"})

TOML = """
expect = ["completed", "compensated"]
never = ["failed"]

[services.payment]
idempotent = false
probe = false
undoBy = "payload"
refuses = ["charge"]
[services.payment.results]
charge = {chargeId = "ch_1"}
"""


def faults_of(name, body):
    with pytest.raises(BrokenFile) as broken:
        read_promises(name, body, KNOWN)
    return broken.value.faults


def test_all_of_a_file_is_read():
    promises = read_promises("services.toml", TOML.encode(), KNOWN)
    assert promises.expect == ("completed", "compensated")
    assert promises.never == ("failed",)
    assert promises.of("payment") == ServicePromise(
        idempotent=False,
        probe=False,
        undo_by=UndoBy.PAYLOAD,
        refuses=("charge",),
        results={"charge": {"chargeId": "ch_1"}},
    )


def test_the_same_may_be_json():
    document = {"services": {"payment": {"idempotent": False}}, "never": ["failed"]}
    promises = read_promises("services.json", json.dumps(document).encode(), KNOWN)
    assert promises.of("payment").kind is Promise.BLIND
    assert promises.expect == ("completed",)


def test_what_is_not_told_is_as_it_should_be():
    assert Promises().of("payment") == ServicePromise()
    assert ServicePromise().kind is Promise.BARRIER
    assert ServicePromise(barrier=False).kind is Promise.ONCE
    assert read_promises("services.toml", b"", KNOWN) == Promises()


@pytest.mark.parametrize(
    ("toml", "pointer", "detail"),
    [
        ("[services.paiment]\n", "/services/paiment", 'did you mean "payment"?'),
        ("[services.payment]\nidempotnt = true\n", "/services/payment/idempotnt", "unknown field"),
        ('[services.payment]\nundoBy = "id"\n', "/services/payment/undoBy", "one of step, payload"),
        (
            '[services.payment]\nprobe = "yes"\n',
            "/services/payment/probe",
            "expected true or false",
        ),
        ("services = 1\n", "/services", "expected an object"),
        ("[services]\npayment = 1\n", "/services/payment", "expected an object"),
        ('expect = ["done"]\n', "/expect/0", "expected one of created"),
        ('expect = ["running"]\n', "/expect/0", "a saga ends as one of completed, compensated"),
        ('never = ["running"]\n', "/never/0", "a saga ends as one of"),
        (
            "[services.payment]\nidempotent = false\nbarrier = true\n",
            "/services/payment/barrier",
            "what has a barrier knows its keys",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(toml, pointer, detail):
    (fault,) = faults_of("services.toml", toml.encode())
    assert fault.pointer == pointer
    assert detail in fault.detail


def test_a_file_that_is_no_toml_says_where():
    (fault,) = faults_of("services.toml", b"[services.payment\n")
    assert "is no TOML" in fault.detail
    assert "line 1" in fault.detail
    (fault,) = faults_of("services.toml", b"\xff")
    assert "is no TOML" in fault.detail


def test_a_file_that_is_no_json_says_where():
    (fault,) = faults_of("services.json", b'{\n"services": }')
    assert (fault.line, fault.column) == (2, 13)


def test_a_fault_in_json_has_its_line():
    (fault,) = faults_of("services.json", b'{\n"never": ["done"]}')
    assert (fault.pointer, fault.line, fault.column) == ("/never/0", 2, 11)


def test_a_document_that_is_no_object_is_refused():
    (fault,) = faults_of("services.json", b"[]")
    assert fault.detail == "is an array; expected an object"
