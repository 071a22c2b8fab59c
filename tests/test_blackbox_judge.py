"""The judge of the black box finds what it is there to find: each promise is broken once, on paper."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from blackbox import orders
from blackbox.deeds import Deed, DeedLedger, read_deeds
from blackbox.judge import Final, allowed_statuses, judge
from blackbox.wishes import OPEN, Wish, WishLedger, last_words

COMPLETED = next(
    name
    for name in map(str, itertools.count())
    if len(orders.dependencies(orders.order(name))) == 3
    and orders.endings(orders.order(name)) == {"completed"}
    and orders.undone_endings(orders.order(name)) == {"compensated"}
)
REFUSED = next(
    name
    for name in map(str, itertools.count())
    if "failed" in orders.endings(orders.order(name))
    and len(orders.dependencies(orders.order(name))) == 2
)


def created(order: str = COMPLETED, answer: str = "yes", number: int = 1, saga: str = "s") -> Wish:
    return Wish(order=order, verb="create", number=number, saga=saga, answer=answer)


def asked(verb: str, answer: str = "yes", number: int = 2) -> Wish:
    return Wish(order=COMPLETED, verb=verb, number=number, saga="s", answer=answer)


def final(status: str = "completed", order: str = COMPLETED, saga: str = "s") -> Final:
    return Final(saga, order, status, 1)


def deeds(*told: str) -> list[Deed]:
    """From `a`, `-a` (its undo), `a=lost` (its outcome), `a@2` (its epoch), in order."""
    made = []
    for at, text in enumerate(told):
        call, _, outcome = text.partition("=")
        call, _, epoch = call.partition("@")
        step = call.removeprefix("-")
        phase = "compensation" if call != step else "action"
        key = f"s/{step}/{phase}/{epoch or 1}"
        action_key = f"s/{step}/action/{epoch or 1}"
        made.append(Deed("s", step, phase, key, action_key, 1, outcome or "done", at))
    return made


def faults(
    finals: Iterable[Final], wishes: Iterable[Wish], told: Iterable[Deed], *, late: bool = False
) -> str:
    by_number = {wish.number: wish for wish in wishes}
    return "\n".join(judge([*finals], by_number, [*told], late=late))


# A promise is kept


@pytest.mark.parametrize(
    ("status", "wishes", "told"),
    [
        ("completed", [created()], ["a", "b", "c"]),
        ("completed", [created(answer=OPEN)], ["a=unavailable", "a=lost", "a=again", "b", "c"]),
        ("compensated", [created(), asked("compensate")], ["a", "b", "c", "-c", "-b", "-a"]),
        ("compensated", [created(), asked("compensate", OPEN)], ["a", "b", "-b", "-b=again", "-a"]),
        ("completed", [created(), asked("compensate", "MoveRefused")], ["a", "b", "c"]),
        ("completed", [created(), asked("delete", OPEN)], ["a", "b", "c"]),
        (
            "completed",
            [created(), asked("compensate"), asked("retry", number=3)],
            ["a", "-a", "a@2", "b", "c"],
        ),
    ],
)
def test_what_was_promised_is_no_fault(status, wishes, told):
    assert faults([final(status)], wishes, deeds(*told)) == ""


def test_a_saga_that_nobody_heard_of_may_be_missing():
    assert faults([], [created(answer=OPEN, saga="")], []) == ""


def test_a_deleted_saga_may_be_gone():
    assert faults([], [created(), asked("delete")], deeds("a", "b", "c")) == ""


# A promise is broken


@pytest.mark.parametrize(
    ("finals", "wishes", "told", "fault"),
    [
        ([], [created()], [], "lost; acknowledged"),
        ([final(saga="t")], [created()], [], "acknowledged as ['s'], and there is ['t']"),
        ([final(), final(saga="t")], [created()], [], "there is ['s', 't']"),
        ([final()], [], ["a", "b", "c"], "nobody asked for"),
        ([final()], [created(), asked("delete")], ["a", "b", "c"], "deleted, and there is"),
        ([], [], ["a"], "was called and does not exist"),
        ([final("compensated")], [created()], ["a", "-a"], "may end only as ['completed']"),
        ([final()], [created(), asked("compensate")], ["a", "b", "c"], "only as ['compensated']"),
        ([final()], [created()], ["a", "b"], "the effects of ['c'] are missing"),
        ([final()], [created()], ["a", "c", "b"], "c was called before b was done"),
        ([final()], [created()], ["a", "a@2", "b", "c"], "a action: called under"),
        ([final()], [created(), asked("retry")], ["a", "a@2", "b", "c"], "may stand"),
        ([final()], [created()], ["a", "b", "c", "-c@2"], "which was never called"),
        ([final()], [created(), asked("retry")], ["a", "b", "c", "-c"], "['c'] are missing"),
    ],
)
def test_what_was_not_promised_is_found(finals, wishes, told, fault):
    assert fault in faults(finals, wishes, deeds(*told))


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (["a", "b", "c", "-c", "-b"], "the effects of ['a'] were not undone"),
        (["a", "b", "-a", "-b"], "a was undone before b was"),
        (["a", "-a", "a=again"], "was called after its undo"),
        (["a", "-a", "a=barred"], "was called after its undo"),
    ],
)
def test_an_undo_that_is_wrong_is_found(told, fault):
    wishes = [created(), asked("compensate")]
    assert fault in faults([final("compensated")], wishes, deeds(*told))


def test_an_action_that_comes_after_its_undo_is_no_fault_when_services_were_stopped():
    wishes = [created(), asked("compensate")]
    told = deeds("-a", "a=barred")
    assert "after its undo" in faults([final("compensated")], wishes, told)
    assert faults([final("compensated")], wishes, told, late=True) == ""


def test_a_refused_order_is_failed_or_undone_but_not_completed():
    wishes = [created(REFUSED)]
    assert "may end only as" in faults([final("completed", REFUSED)], wishes, deeds("a", "b"))


def test_one_key_that_gave_two_sagas_is_found(tmp_path):
    ledger = WishLedger(tmp_path / "wishes")
    told = ledger.answer(ledger.ask(COMPLETED, "create"), "yes", "s")
    ledger.answer(told, "yes", "t")
    wishes = last_words(tmp_path / "wishes").values()
    assert "one key gave s and another saga: t" in faults([final()], wishes, deeds("a", "b", "c"))


def test_wishes_that_were_answered_replace_the_ending_and_open_ones_add_to_it():
    order = orders.order(COMPLETED)
    undone = [created(), asked("compensate")]
    assert allowed_statuses(order, undone) == {"compensated"}
    assert allowed_statuses(order, [*undone, asked("retry", OPEN)]) == {"compensated", "completed"}


# The ledgers


def call(ledger, then, *, phase="action", epoch=1, step="a"):
    return ledger.call(
        saga="s",
        step=step,
        phase=phase,
        key=f"s/{step}/{phase}/{epoch}",
        action_key=f"s/{step}/action/1",
        attempt=1,
        then=then,
    )


@pytest.mark.parametrize("sync", [True, False])
def test_a_service_that_begins_again_remembers_what_it_did(tmp_path, sync):
    ledger = DeedLedger(tmp_path / "ledger", sync=sync)
    assert [call(ledger, "flaky"), call(ledger, "flaky")] == ["unavailable", "done"]
    assert call(ledger, "stubborn", phase="compensation") == "refused"
    assert call(ledger, "stubborn", phase="compensation", epoch=2) == "done"
    ledger.close()
    ledger = DeedLedger(tmp_path / "ledger", sync=sync)
    assert call(ledger, "done", phase="compensation", epoch=2) == "again"
    assert call(ledger, "done") == "barred"
    assert [call(ledger, "lost", step="b"), call(ledger, "lost", step="b")] == ["lost", "again"]
    ledger.close()
    assert len(read_deeds([tmp_path / "ledger"])) == 8


def test_a_line_that_a_kill_cut_short_is_not_read(tmp_path):
    ledger = WishLedger(tmp_path / "wishes")
    wish = ledger.answer(ledger.ask("1", "create"), "yes", "s")
    ledger.close()
    with open(tmp_path / "wishes", "ab") as file:
        file.write(b'{"order":"2","verb":"cre')
    assert last_words(tmp_path / "wishes") == {1: wish}
    ledger = WishLedger(tmp_path / "wishes")
    assert ledger.open_creates() == []
    more = ledger.ask("3", "create")
    assert last_words(tmp_path / "wishes") == {1: wish, 2: more}


def test_an_order_is_the_same_whenever_it_is_named():
    assert orders.order("f1-2") == orders.order("f1-2") != orders.order("f1-3")
