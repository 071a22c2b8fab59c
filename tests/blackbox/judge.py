"""The judge: were the promises kept? Holds what a client was told against what the services did.

Nothing here knows how sagakeep works, only what it promises:

    an acknowledged wish holds after any kill; one key for life gives one saga
    a call keeps its key while its effect may still stand
    completed: the effect of every step stands, and each was called after those it depends on
    compensated, failed: no effect stands; each was undone after it was done, dependents first
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from blackbox import orders
from blackbox.deeds import NOTHING, Deed
from blackbox.wishes import OPEN, Wish


class Final(msgspec.Struct, frozen=True):
    """A saga as it stands at the end."""

    id: str
    order: str
    status: str
    events: int  # the highest number of its history


class Case(NamedTuple):
    """One saga, and all that is known of it."""

    final: Final
    wishes: list[Wish]  # about it, in order
    deeds: list[Deed]  # in order of time
    late: bool


def judge(
    finals: Sequence[Final],
    wishes: Mapping[int, Wish],
    deeds: Sequence[Deed],
    *,
    late: bool = False,
) -> list[str]:
    """Return every breach of a promise, for people; none when all were kept.

    `late`: services were stopped for longer than a timeout, so that a call may reach its service after its undo.
    """
    of_order: dict[str, list[Wish]] = defaultdict(list)
    for number in sorted(wishes):
        of_order[wishes[number].order].append(wishes[number])
    of_saga: dict[str, list[Deed]] = defaultdict(list)
    for deed in deeds:
        of_saga[deed.saga].append(deed)
    faults = [*_judge_wishes(finals, of_order)]
    for final in finals:
        case = Case(final, of_order[final.order], of_saga[final.id], late)
        for fault in _judge_case(case):
            faults.append(f"{final.id} ({final.order}, {final.status}): {fault}")
    known = {final.id for final in finals}
    known |= {wish.saga for wish in wishes.values() if wish.verb == "delete"}
    faults += [f"{saga}: was called and does not exist" for saga in of_saga.keys() - known]
    return faults


def _judge_wishes(finals: Sequence[Final], of_order: Mapping[str, Sequence[Wish]]) -> Iterator[str]:
    """Is there one saga for each acknowledged order, and none that nobody asked for?"""
    found: dict[str, list[str]] = defaultdict(list)
    for final in finals:
        found[final.order].append(final.id)
    for order, wishes in of_order.items():
        deletes = [wish.answer for wish in wishes if wish.verb == "delete"]
        ids = found.pop(order, [])
        told = {wish.saga for wish in wishes if wish.verb == "create" and wish.answer == "yes"}
        if len(ids) > 1 or (ids and told and {*ids} != told):
            yield f"{order}: acknowledged as {sorted(told)}, and there is {ids}"
        if told and not ids and not deletes:
            yield f"{order}: lost; acknowledged as {sorted(told)}"
        if ids and "yes" in deletes:
            yield f"{order}: deleted, and there is {ids}"
        for wish in wishes:
            if wish.answer.startswith("another"):
                yield f"{order}: one key gave {wish.saga} and {wish.answer}"
    for order, ids in found.items():
        yield f"{order}: nobody asked for {ids}"


def _judge_case(case: Case) -> Iterator[str]:
    document = orders.order(case.final.order)
    allowed = allowed_statuses(document, case.wishes)
    if case.final.status not in allowed:
        yield f"may end only as {sorted(allowed)}"
    yield from _judge_keys(case)
    yield from _judge_effects(case, document)
    yield from _judge_order(case, document)


def allowed_statuses(document: dict[str, object], wishes: Sequence[Wish]) -> frozenset[str]:
    """What the saga may be, after wishes of which some were not answered."""
    plain, undone = orders.endings(document), orders.undone_endings(document)
    allowed = plain
    for wish in wishes:
        becomes = {"compensate": undone, "retry": plain | (allowed & undone)}.get(wish.verb)
        if becomes is None or wish.answer not in (OPEN, "yes"):
            continue
        allowed = becomes if wish.answer == "yes" else allowed | becomes
    return allowed


# Keys


def _judge_keys(case: Case) -> Iterator[str]:
    """A new key only after an operator's retry, and only when the effect of the old one cannot stand."""
    retried = _was_retried(case)
    by_call: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for deed in case.deeds:
        by_call[deed.step, deed.phase][deed.key] = None
    for (step, phase), keys in by_call.items():
        if len(keys) > 1 and not retried:
            yield f"{step} {phase}: called under {list(keys)}"
        for old, new in itertools.pairwise(keys):
            began_ns = next(deed.at_ns for deed in case.deeds if deed.key == new)
            if phase == "action" and _may_stand(case.deeds, old, began_ns):
                yield f"{step}: called as {new} while {old} may stand"
    for deed in case.deeds:
        is_undo = deed.phase == "compensation" and not case.late
        if is_undo and deed.action_key not in by_call[deed.step, "action"]:
            yield f"{deed.step}: undone as {deed.action_key}, which was never called"


def _was_retried(case: Case) -> bool:
    return any(wish.verb == "retry" for wish in case.wishes)


def _may_stand(deeds: Sequence[Deed], key: str, at_ns: int) -> bool:
    """May the effect of an action's key be there at this time, as far as its caller can know?"""
    before = [deed for deed in deeds if deed.at_ns < at_ns]
    is_done = any(deed.key == key and deed.outcome not in NOTHING for deed in before)
    return is_done and not any(_undoes(deed, key) and deed.is_effect for deed in before)


def _undoes(deed: Deed, key: str) -> bool:
    return deed.phase == "compensation" and deed.action_key == key


# Effects


def standing_keys(deeds: Sequence[Deed]) -> dict[str, set[str]]:
    """By step, the keys of actions that were done and not undone afterwards."""
    standing: dict[str, set[str]] = defaultdict(set)
    for deed in deeds:
        if deed.is_effect and deed.phase == "action":
            standing[deed.step].add(deed.key)
        elif deed.is_effect:
            standing[deed.step].discard(deed.action_key)
    return standing


def _judge_effects(case: Case, document: dict[str, object]) -> Iterator[str]:
    standing = standing_keys(case.deeds)
    for step, keys in standing.items():
        if len(keys) > 1:
            yield f"{step}: done twice, as {sorted(keys)}"
    stands = {step for step, keys in standing.items() if keys}
    steps = orders.dependencies(document).keys()
    if case.final.status == "completed" and stands != steps:
        yield f"the effects of {sorted(steps - stands)} are missing"
    if case.final.status in ("compensated", "failed") and stands:
        yield f"the effects of {sorted(stands)} were not undone"
    undone: set[str] = set()
    for deed in case.deeds:
        if deed.phase == "compensation" and deed.is_effect:
            undone.add(deed.action_key)
        elif deed.key in undone and not (case.late and deed.outcome == "barred"):
            yield f"{deed.step}: {deed.key} was called after its undo"


def _judge_order(case: Case, document: dict[str, object]) -> Iterator[str]:
    """Actions after what they depend on, undos before the undos of what they depend on."""
    if _was_retried(case) or case.late:
        return  # then a step has several effects; the first two rules still hold of each
    for later, earlier in _pairs(orders.dependencies(document)):
        begun = _first_ns(case.deeds, later, "action")
        done = _first_ns(case.deeds, earlier, "action", sure=True)
        if begun is not None and (done is None or begun < done):
            yield f"{later} was called before {earlier} was done"
        undo = _first_ns(case.deeds, earlier, "compensation")
        of_later = [d for d in case.deeds if d.step == later and d.phase == "compensation"]
        undone = _first_ns(case.deeds, later, "compensation", sure=True)
        if undo is not None and of_later and (undone is None or undo < undone):
            yield f"{earlier} was undone before {later} was"


def _pairs(waits: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    for later, earlier_steps in waits.items():
        for earlier in earlier_steps:
            yield later, earlier


def _first_ns(deeds: Sequence[Deed], step: str, phase: str, *, sure: bool = False) -> int | None:
    times = (
        deed.at_ns
        for deed in deeds
        if deed.step == step and deed.phase == phase and (deed.is_sure or not sure)
    )
    return next(times, None)
