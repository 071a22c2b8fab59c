"""What must hold in every world, at every moment. One function for each, named by its number.

    I1   an acknowledged creation is there after any restart, and every answer was durable before it was given
    I2   a service is called only for what was durably meant before, and is still outstanding
    I3   each run of a saga ends once, and no saga is left moving
    I4   of a completed saga every step was done, in order
    I5   one Idempotency-Key for each intended effect, and a new one only when the old effect is not there
    I6   with services that know their keys an effect counts once
    I7   what is said to be undone is undone, after it was done, in reverse order
    I8   what is not undone is known to be so
    I9   statistics are those of the log
    I10  histories have no gaps, only grow, and are the log's; their times do not run back
    I11  every record follows from those before (checked with each record, in `Judge.synced`)
    I12  what is recovered is the fold of what is durable: all that was, and at most the frame in doubt
    I13  one attempt of a step at a time, and no undo beside its action
    I14  no action starts after the deadline, or while the saga turns back (the latter is I2 and I11)
    I15  one saga for each client's Idempotency-Key
    I16  reads do not go back in time, whoever reads
    I17  a recovery that is repeated finds the same (`campaign.recover_twice`)
    I18  a journal that is not damaged is not refused; one that is damaged is not silently accepted
    I19  after a failed write or sync of the journal nothing is acknowledged, and the process ends
    I20  nothing is left in a queue at rest
    I21  no file and no lock is left open; tasks cannot be, for trio's run ends after them
    I22  retries keep to their policy and to what the service asked for
    I23  some time after the last deletion nothing of a deleted saga is on the disk but that it was there and was
         deleted: its records are erased, and no snapshot has it
    I24  what is sensitive is in no reply and in no line of the log
    I25  everything comes to rest in bounded time once there is no more trouble
    I26  a finished saga is looked up as it ended (with I10: histories of all sagas are read at the end)
    I27  every answer is a version of the saga, not older than any that was given before it was asked for;
         a saga is one register with one order of writes, so that is linearizability

    I28  the rules for what follows, read off each durable record without the product's own questions: no
         attempt after a refusal for good; no undo past the pivot, of a saga or a doubt that is held, or outside
         of what was asked; no retry beyond its maximum; nothing is deleted while it moves
    I29  the attempts of a call are numbered 1, 2, 3 ... for as long as it has its key, also after an operator's
         retry: an answer that comes late is never taken for one that is waited for
    I30  a service that may be called only so often is: in any span of a process's life no more calls begin than
         its burst and its rate allow, whatever fails, waits, sleeps or comes back in it

    I31  a snapshot holds nothing from beyond its position (looked at between two lives)
    I32  no answer that came after an attempt's timeout counts, but as a late reply
    I33  while a saga is paused nothing of it is begun: no start is decided, and no attempt that waited begins
    I34  what an operator forced is told: each effect that a forced end leaves is among what remains; a saga that
         is run again and its next run name each other
    I35  a key stands for one payload: another one, by an operator's hand, has another key
    I36  while an operator has paused a service no call of it begins, whatever wakes, retries or starts again
    I37  each live saga has something that will move it, at every moment: the product looks itself
         (`sagakeep.actors.never_stuck`), and its line of the log is the complaint

Not checked, for there is nothing to check in the product as it is: the archive in I10 and I26 (finished sagas
stay in the journal and have a row). The ramp of I22 is too wide for four sagas; `test_gateway` has it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sagakeep import events as e
from sagakeep.actors.saga_query import SagaQuery
from sagakeep.codec import glance_at_state
from sagakeep.definition import InDoubt, OnFailure, StepKind
from sagakeep.effects import RunCall, idempotency_key, outstanding
from sagakeep.errors import JournalCorrupt
from sagakeep.events import Record
from sagakeep.orchestrator import Orchestrator
from sagakeep.remains import remaining
from sagakeep.runtime.snapshot_file import DamagedSnapshot, read_snapshots
from sagakeep.saga_status import ABANDONED, COMPENSATED, COMPENSATION_FAILED, COMPLETED, RUNNING
from sagakeep.service import DONE, NOT_DONE, UNKNOWN, Call
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.ledger import Entry, Promise
from sagakeep.simulation.process import DoesNotEnd
from sagakeep.simulation.service import REFUSED
from sagakeep.simulation.world import DIRECTORY, Ending, How
from sagakeep.state import FINAL, MOVING, SagaState, is_done, pivot_is_done, scope_of
from sagakeep.step_status import COMPENSATED as UNDONE
from sagakeep.step_status import RETRYING
from simulation.client import Answer, Asked, Client, Wish
from simulation.configuration import CANARY
from simulation.durable import read_journal

if TYPE_CHECKING:
    from simulation.judge import Judge

SLACK_S = 1e-3
PAUSED_WITHIN_S = 1.0


# Answers


def i01_what_is_answered_is_durable(judge: Judge, answer: Answer) -> None:
    if answer.kind == "ok" and answer.sequence:
        durable = judge.log.states.get(answer.saga_id)
        judge.expect(
            durable is not None and durable.sequence >= answer.sequence,
            "I1",
            lambda: f"{answer.saga_id} was shown at {answer.sequence}, which is not durable",
        )


def i01_what_was_acknowledged_is_there(judge: Judge) -> None:
    for saga_id, sequence in judge.acknowledged.items():
        state = judge.log.states.get(saga_id)
        judge.expect(
            state is not None and state.sequence >= sequence,
            "I1",
            lambda: (
                f"{saga_id} was acknowledged at {sequence} and is {state and state.sequence} now"
            ),
        )
    for saga_id in judge.deleted:
        judge.expect(
            judge.log.states[saga_id].deleted, "I1", lambda: f"{saga_id} was deleted and is back"
        )


def i15_one_saga_for_each_key(judge: Judge, client: Client, wish: Wish, answer: Answer) -> None:
    key = client.plan.idempotency_key
    if not key or wish.kind not in ("create", "again") or answer.kind != "ok":
        return
    known = judge.by_key.setdefault(key, answer.saga_id)
    judge.expect(
        known == answer.saga_id, "I15", lambda: f"{key!r} made {known} and {answer.saga_id}"
    )
    made = [one.id for one in judge.log.states.values() if one.idempotency_key == key]
    judge.expect(made == [answer.saga_id], "I15", lambda: f"{key!r} made {made}")


def i16_reads_do_not_go_back(judge: Judge, answer: Answer, asked: Asked) -> None:
    if answer.kind == "ok" and answer.sequence:
        floor = asked.sequences.get(answer.saga_id, 0)
        judge.expect(
            answer.sequence >= floor,
            "I16",
            lambda: f"{answer.saga_id} was shown at {answer.sequence}, after it was at {floor}",
        )
    if answer.kind == "gone":
        state = judge.log.states.get(answer.saga_id)
        judge.expect(
            state is None or state.deleted,
            "I16",
            lambda: f"{answer.saga_id} is there and was not found",
        )


def i27_every_answer_is_a_version(judge: Judge, answer: Answer, asked: Asked) -> None:
    judge.expect(
        not answer.kind.startswith("status"), "I27", lambda: f"{answer.kind}: {answer.status}"
    )
    if answer.state is not None:
        version = judge.log.versions.get((answer.saga_id, answer.sequence))
        judge.expect(
            version == answer.state,
            "I27",
            lambda: f"{answer.saga_id} was shown as it never was: {answer.state} for {version}",
        )
    if answer.ids is not None:
        gone = asked.deleted.intersection(answer.ids)
        judge.expect(not gone, "I27", lambda: f"{gone} are listed, though they were deleted")
        deleted = {one.id for one in judge.log.states.values() if one.deleted}
        missing = asked.sequences.keys() - deleted - set(answer.ids)
        judge.expect(not missing, "I27", lambda: f"{missing} were created and are not listed")


def i10_histories_only_grow(judge: Judge, answer: Answer) -> None:
    if answer.records is not None:
        log = judge.log.of_saga[answer.saga_id]
        judge.expect(
            list(answer.records) == log[: len(answer.records)],
            "I10",
            lambda: f"the events of {answer.saga_id} are not those of the log",
        )


def i24_secrets_are_not_shown(judge: Judge, text: str) -> None:
    judge.expect(CANARY not in text, "I24", lambda: f"a secret is shown: {text[:300]}")


def i37_something_moves_each_saga(judge: Judge, text: str) -> None:
    judge.expect("had nothing to move it" not in text, "I37", text[:300])


# Records


def i03_one_end_for_each_run(judge: Judge, before: SagaState | None, record: Record) -> None:
    if before is None or before.status in MOVING:
        return
    allowed = (
        *(e.SagaRetry, e.SagaCompensating, e.StepResolved),
        *(e.LateReply, e.ActorRestarted, e.SagaDeleted),
        *(e.StepSkipped, e.StepEdited, e.SagaAbandoned, e.SagaRerun),
    )
    first = record.events[0]
    judge.expect(
        isinstance(first, allowed),
        "I3",
        lambda: f"{before.id} is {before.status}, and then {first}",
    )


def i10_time_does_not_run_back(judge: Judge, record: Record) -> None:
    """Over all sagas and restarts, whatever the system's clock does."""
    if judge.log.records:
        last = judge.log.records[-1].record
        judge.expect(
            record.at_utc_s >= last.at_utc_s,
            "I10",
            lambda: (
                f"{record.saga_id} at {record.at_utc_s}, after {last.saga_id} at {last.at_utc_s}"
            ),
        )


def i14_no_start_after_the_deadline(judge: Judge, before: SagaState | None, record: Record) -> None:
    if before is None or before.status is not RUNNING or pivot_is_done(before):
        return
    starts = [one for one in record.events if isinstance(one, e.StepStarted)]
    pivots = {before.plan.pivot} & {
        one.step_id for one in record.events if isinstance(one, e.StepCompleted)
    }
    if starts and not pivots:
        judge.expect(
            record.at_utc_s < before.deadline_utc_s,
            "I14",
            lambda: (
                f"{before.id}: {starts} at {record.at_utc_s}, its deadline is {before.deadline_utc_s}"
            ),
        )


def i22_retries_keep_to_their_policy(
    judge: Judge, before: SagaState | None, record: Record
) -> None:
    if before is None:
        return
    edited = {one.step_id for one in record.events if isinstance(one, e.StepEdited)}
    hurried = {one.step_id for one in record.events if isinstance(one, e.StepHurried)}
    planned: dict[str, float] = {}  # by the record itself
    for event in record.events:
        if getattr(event, "step_id", "") in edited:
            continue  # with another payload it is another call, which waits for nothing
        if isinstance(event, e.StepRetry | e.CompensationRetry):
            planned[event.step_id] = event.retry_at_utc_s
        elif isinstance(event, e.StepStarted | e.CompensationStarted) and event.step_id in planned:
            judge.expect(
                record.at_utc_s >= planned[event.step_id] - SLACK_S,
                "I22",
                lambda: f"{record.saga_id} makes an attempt in the record that plans it: {record}",
            )
        if isinstance(event, e.StepStarted) and before.steps[event.step_id].status is RETRYING:
            call, spec = before.steps[event.step_id].action, before.step(event.step_id)
            at_s, most = call.retry_at_utc_s, spec.retries_max
            is_endless = spec.kind is StepKind.RETRIABLE or pivot_is_done(before)
        elif isinstance(event, e.CompensationStarted):
            call, spec = before.steps[event.step_id].compensation, before.step(event.step_id)
            at_s, most, is_endless = call.retry_at_utc_s, spec.compensation_retries_max, False
            if not at_s:
                continue
        else:
            continue
        tries = event.attempt - call.attempts_base
        where = f"{before.id}/{event.step_id} attempt {event.attempt}"
        judge.expect(is_endless or tries <= most + 1, "I22", lambda: f"{where} is one too many")
        judge.expect(
            record.at_utc_s >= at_s - SLACK_S or event.step_id in hurried,
            "I22",
            lambda: f"{where} at {record.at_utc_s}, due {at_s}",
        )


def i28_what_follows_is_by_the_rules(
    judge: Judge, before: SagaState | None, record: Record
) -> None:
    if before is None:
        return
    for event in record.events:
        match event:
            case e.StepRetry() | e.CompensationRetry():
                holds = event.error != REFUSED.error
                rule = "is tried again after a refusal for good"
            case e.SagaCompensating(reason=reason):
                is_held = before.definition.on_failure is OnFailure.HOLD and reason != "request"
                holds = not _is_past_pivot(before, record) and not is_held
                rule = "turns back past its pivot, or though it is held"
            case e.CompensationStarted(step_id=step_id):
                holds = _may_be_undone(before, record, step_id)
                rule = (
                    "undoes what is past its pivot, a doubt that is held, or what nobody asked for"
                )
            case e.SagaRetry():
                holds = before.retry_count < before.definition.retries_max
                rule = "is retried once too often"
            case e.SagaDeleted():
                holds, rule = before.status not in MOVING, "is deleted while it moves"
            case _:
                continue
        judge.expect(holds, "I28", f"{before.id} {rule}: {event}")


def i29_attempts_are_counted_on(judge: Judge, record: Record) -> None:
    earlier = [*judge.log.of_saga.get(record.saga_id, ()), record]
    for event in record.events:
        if isinstance(event, e.StepStarted | e.CompensationStarted):
            place = (type(event), event.step_id, event.epoch)
            made = [
                one.attempt
                for each in earlier
                for one in each.events
                if isinstance(one, e.StepStarted | e.CompensationStarted)
                and (type(one), one.step_id, one.epoch) == place
            ]
            text = f"{record.saga_id}: the attempts of {place} are {made}"
            judge.expect(made == list(range(1, len(made) + 1)), "I29", text)


def _is_past_pivot(before: SagaState, record: Record) -> bool:
    done = {step_id for step_id in before.steps if _is_answered_done(record, step_id)}
    done |= {step_id for step_id, step in before.steps.items() if step.action.outcome is DONE}
    return any(one.kind is StepKind.PIVOT and one.id in done for one in before.definition.steps)


def _may_be_undone(before: SagaState, record: Record, step_id: str) -> bool:
    wishes = [one for one in record.events if isinstance(one, e.SagaCompensating)]
    is_asked = before.doubt_accepted or any(one.reason == "request" for one in wishes)
    is_asked = is_asked or any(isinstance(one, e.SagaRetry) for one in record.events)
    is_in_doubt = before.steps[step_id].action.outcome is UNKNOWN
    is_in_doubt = is_in_doubt and not _is_answered_done(record, step_id)
    is_held = is_in_doubt and before.step(step_id).in_doubt is InDoubt.HOLD and not is_asked
    scope = wishes[-1].step_id if wishes else before.scope
    down_to = wishes[-1].down_to if wishes else before.down_to
    is_wanted = _is_in_scope(before, step_id, down_to or scope) and step_id != down_to
    return is_wanted and not is_held and not _is_past_pivot(before, record)


def _is_answered_done(record: Record, step_id: str) -> bool:
    """Does the record itself end the doubt: a later attempt, a probe or an operator found the action done?"""
    return any(
        (isinstance(one, e.StepCompleted) and one.step_id == step_id)
        or (isinstance(one, e.StepProbed) and one.step_id == step_id and one.outcome is DONE)
        or (isinstance(one, e.StepResolved) and one.step_id == step_id and one.resolution == "done")
        for one in record.events
    )


def _is_in_scope(state: SagaState, step_id: str, scope: str) -> bool:
    """Is it the step of a partial compensation, or does it depend on it, directly or not?"""
    found, todo = set(), [step_id]
    while todo:
        one = todo.pop()
        if not scope or one == scope:
            return True
        if one not in found:
            found.add(one)
            todo += state.step(one).depends_on
    return False


# Calls


def i02_every_call_was_durably_meant(judge: Judge, call: Call) -> None:
    state = judge.log.states.get(call.saga_id)
    where = f"{call.phase} {call.idempotency_key} attempt {call.attempt}"
    if state is None:
        judge.fail("I2", f"{where}: its saga is not durable")
        return
    meant = [
        effect
        for effect in outstanding(state)
        if isinstance(effect, RunCall)
        and (effect.step_id, effect.phase, effect.attempt)
        == (call.step_id, call.phase, call.attempt)
        and idempotency_key(state.id, effect) == call.idempotency_key
    ]
    judge.expect(
        meant, "I2", lambda: f"{where} is not outstanding for {state.status} {state.steps}"
    )


def i05_one_key_for_each_intended_effect(judge: Judge, call: Call) -> None:
    if call.phase != "action" or judge.promise(call.service) is Promise.BLIND:
        return
    saga_id, step_id, kind, epoch = call.idempotency_key.rsplit("/", 3)
    judge.expect(
        (saga_id, step_id, kind) == (call.saga_id, call.step_id, "action"),
        "I5",
        lambda: f"the key {call.idempotency_key!r} is of another call",
    )
    if int(epoch) > 1 and not _is_read_only(judge, saga_id, step_id):
        ledger = judge.world.services[call.service].ledger
        old = f"{saga_id}/{step_id}/action/{int(epoch) - 1}"
        undone = [one for one in ledger.entries if one.action_key == old and one.key != old]
        judge.expect(
            not ledger.counts[old] or undone,
            "I5",
            lambda: f"{call.idempotency_key} begins while the effect of {old} is there",
        )


def i32_no_answer_counts_after_its_timeout(
    judge: Judge, before: SagaState | None, record: Record
) -> None:
    if before is None:
        return
    for event in record.events:
        latency_s: float = getattr(event, "latency_s", 0.0)
        if latency_s and not isinstance(event, e.LateReply):
            timeout_s = before.step(event.step_id).timeout_s  # type: ignore[attr-defined] # of a step
            judge.expect(
                latency_s <= timeout_s + SLACK_S,
                "I32",
                lambda event=event, timeout_s=timeout_s: (
                    f"{record.saga_id}: {event}, timeout {timeout_s}"
                ),
            )


def i23_what_was_deleted_is_erased(judge: Judge) -> None:
    disk = judge.world.disk
    deleted = {one.id for one in judge.log.states.values() if one.deleted}
    for placed in read_journal(disk) if deleted else ():
        record = placed.record
        stays = record.is_erased or any(isinstance(one, e.SagaDeleted) for one in record.events)
        text = f"{record.saga_id} is deleted, and there is event {record.sequence} of it"
        judge.expect(stays or record.saga_id not in deleted, "I23", text)
    for snapshot in read_snapshots(disk, DIRECTORY):
        if not isinstance(snapshot, DamagedSnapshot):
            there = {glance_at_state(data).saga_id for data in snapshot.chunks[1:]}
            judge.expect(not there & deleted, "I23", f"a snapshot has {there & deleted}")


def i31_a_snapshot_ends_where_it_says(judge: Judge, disk: MemoryDisk) -> None:
    for snapshot in read_snapshots(disk, DIRECTORY):
        if isinstance(snapshot, DamagedSnapshot):
            continue  # cut in the middle, and passed over by a start
        for data in snapshot.chunks[1:]:
            seen = glance_at_state(data)
            judge.expect(
                seen.last[0] < snapshot.position,
                "I31",
                lambda seen=seen, snapshot=snapshot: (
                    f"the snapshot at {snapshot.position} has {seen.saga_id} as it was after {seen.last}"
                ),
            )


def i13_one_attempt_at_a_time(judge: Judge, call: Call) -> None:
    now_s = judge.world.now_s()
    if any(
        isinstance(event, e.ActorRestarted)
        for record in judge.log.of_saga.get(call.saga_id, ())
        for event in record.events
    ):
        return  # its actor crashed: what it had begun is made again, or was put in doubt
    for phase in ("action", "compensation", "probe"):
        for other in judge.in_flight.get((call.saga_id, call.step_id, phase), ()):
            judge.expect(
                now_s >= other.began_s + other.call.timeout_s - SLACK_S,
                "I13",
                lambda: (
                    f"{call.idempotency_key} begins beside {other.call.idempotency_key}"
                    f" attempt {other.call.attempt}, begun at {other.began_s}"
                ),
            )


def i33_nothing_begins_while_its_saga_is_paused(judge: Judge, call: Call) -> None:
    """An attempt may begin between the fsync and what its saga then does, so it has a second."""
    state = judge.log.states[call.saga_id]
    if state.paused is not None:
        since_s = judge.paused_s.get(call.saga_id, 0.0)
        judge.expect(
            judge.world.now_s() <= since_s + PAUSED_WITHIN_S,
            "I33",
            lambda: f"{call.idempotency_key} begins, though {call.saga_id} is paused",
        )


def i33_nothing_is_decided_while_it_is_paused(
    judge: Judge, before: SagaState | None, record: Record
) -> None:
    if before is None or before.paused is None:
        return
    ends = (e.SagaResumed, e.SagaCompensating)
    if not any(isinstance(one, ends) for one in record.events):
        begun = [
            one for one in record.events if isinstance(one, e.StepStarted | e.CompensationStarted)
        ]
        judge.expect(not begun, "I33", lambda: f"{before.id} is paused, and then {begun}")


def i35_one_payload_for_each_key(judge: Judge, call: Call) -> None:
    key = f"{call.idempotency_key} {call.phase}"
    known = judge.payloads.setdefault(key, call.payload)
    judge.expect(
        known == call.payload, "I35", lambda: f"{key} has the payload {call.payload}, had {known}"
    )


def i22_a_service_is_not_called_before_it_asked_for(judge: Judge, call: Call) -> None:
    at_s = judge.earliest_s.get((call.idempotency_key + call.phase, call.attempt), 0.0)
    judge.expect(
        judge.world.now_s() >= at_s - SLACK_S,
        "I22",
        lambda: (
            f"{call.idempotency_key} attempt {call.attempt} begins before {at_s}, as it was asked to"
        ),
    )


def i36_a_service_is_not_called_while_it_is_paused(judge: Judge, call: Call) -> None:
    judge.expect(
        call.service not in judge.paused_services,
        "I36",
        lambda: (
            f"{call.idempotency_key} attempt {call.attempt} begins, and {call.service} is paused"
        ),
    )


def i30_a_service_is_called_no_faster_than_its_limit(judge: Judge, call: Call) -> None:
    """Looks at every span that ends with this call; a process begins with a full burst."""
    per_s, burst = judge.world.services[call.service].limit
    if not per_s:
        return
    times = judge.called_s[call.service]
    for count, began_s in enumerate(reversed(times), start=1):
        allowed = burst + per_s * (times[-1] - began_s)
        judge.expect(
            count <= allowed + SLACK_S * max(1.0, per_s),
            "I30",
            lambda: (
                f"{count} calls of {call.service} within {times[-1] - began_s} s;"
                f" allowed are {per_s} a second and {burst} at once"
            ),
        )


def i06_an_effect_counts_once(judge: Judge, entry: Entry) -> None:
    if judge.promise(entry.service) is Promise.BLIND:
        return
    ledger = judge.world.services[entry.service].ledger
    judge.expect(ledger.counts[entry.key] == 1, "I6", lambda: f"{entry.key} was done twice")
    if not _is_read_only(judge, entry.saga_id, entry.step_id):
        net = ledger.net(entry.saga_id, entry.step_id)
        judge.expect(
            net in (0, 1), "I6", lambda: f"{entry.key}: the step's effect is there {net} times"
        )


def _is_read_only(judge: Judge, saga_id: str, step_id: str) -> bool:
    state = judge.log.states[saga_id]
    return state.step(step_id).kind is StepKind.READ_ONLY


# Lives


def i12_what_is_recovered_is_the_fold(judge: Judge, orchestrator: Orchestrator) -> None:
    live = {saga_id: state for saga_id, (state, _) in orchestrator._engine.committed.live.items()}
    expected = {
        state.id: state
        for state in judge.log.states.values()
        if not state.deleted and state.status not in FINAL
    }
    if (
        judge.log.records
        and judge.log.records[-1].position.frame >= orchestrator._engine.committed.through
    ):
        return  # a frame is durable, and its appenders are being told
    judge.expect(live == expected, "I12", lambda: f"recovered {live}, durable is {expected}")


def i09_numbers_are_those_of_the_log(judge: Judge, orchestrator: Orchestrator) -> None:
    committed = orchestrator._engine.committed
    if judge.log.records and judge.log.records[-1].position.frame >= committed.through:
        return
    found, there = orchestrator.statistics(), _there(judge)
    by_status = {status: count for status, count in found.by_status.items() if count}
    expected = Counter(one.status for one in there)
    judge.expect(by_status == expected, "I9", lambda: f"counted {by_status}, there are {expected}")
    completed = [one for one in there if one.status is COMPLETED]
    seconds = sum(one.completed_at_utc_s - one.created_at_utc_s for one in completed)
    judge.expect(
        found.completed_count == len(completed)
        and abs(found.completed_seconds - seconds) < SLACK_S * (1 + len(judge.log.records)),
        "I9",
        lambda: f"counted {found}, {len(completed)} took {seconds} s",
    )


def i18_what_is_not_damaged_is_not_refused(judge: Judge, ending: Ending) -> None:
    if ending.error is not None:
        judge.expect(
            judge.disk_failed or ending.error.subgroup(DoesNotEnd),
            "I18",
            lambda: f"nothing is wrong with the disk, and: {ending.error.exceptions!r}",
        )
        corrupt = ending.error.subgroup(JournalCorrupt)
        judge.expect(
            corrupt is None or "cannot be read" in str(corrupt.exceptions),
            "I18",
            lambda: f"refused: {corrupt and corrupt.exceptions!r}",
        )


def i19_after_a_failed_sync_the_process_ends(judge: Judge, ending: Ending) -> None:
    if judge.journal_failed:
        judge.expect(
            ending.how is not How.FINISHED,
            "I19",
            lambda: f"it went on after {judge.journal_failed}",
        )


def i21_nothing_is_left_open(judge: Judge, ending: Ending) -> None:
    if ending.how is How.FINISHED:
        judge.expect(
            not judge.world.open_files, "I21", lambda: f"{judge.world.open_files} files are open"
        )
        judge.expect(not judge.world.disk.locked, "I21", "the lock is held")


def i25_everything_ends(judge: Judge, ending: Ending) -> None:
    endless = ending.error is not None and ending.error.subgroup(DoesNotEnd)
    judge.expect(not endless, "I25", "a process takes steps without end")


# At rest


def i03_no_saga_is_left_moving(judge: Judge, orchestrator: Orchestrator) -> None:
    moving = {one.id: str(one.status) for one in _there(judge) if one.status in MOVING}
    judge.expect(not moving, "I25", lambda: f"still moving: {moving}")


def i20_nothing_is_left_in_a_queue(judge: Judge, orchestrator: Orchestrator) -> None:
    engine = orchestrator._engine
    judge.expect(not engine.journal._records, "I20", "records wait for the journal")
    queued = [one.statistics().queued for one in engine.gateways.values()]
    judge.expect(not any(queued), "I20", lambda: f"calls wait for their service: {queued}")
    live = sum(one.status not in FINAL for one in _there(judge))
    found = engine.registry.live_count
    judge.expect(found == live, "I20", lambda: f"{found} actors for {live} live sagas")
    judge.expect(len(engine.timers) <= live, "I20", lambda: f"{len(engine.timers)} timers")


async def i10_histories_are_whole(judge: Judge, orchestrator: Orchestrator) -> None:
    for state in _there(judge):
        records = await orchestrator.events(state.id, limit=10_000)
        judge.expect(
            list(records) == judge.log.of_saga[state.id],
            "I10",
            lambda: f"the events of {state.id} are not those of the log",
        )
        found = await orchestrator.describe(state.id)
        judge.expect(found == state, "I26", lambda: f"{state.id} is {found}, durable is {state}")


async def i27_the_list_is_the_log(judge: Judge, orchestrator: Orchestrator) -> None:
    page = await orchestrator.list(SagaQuery())
    expected = sorted(
        _there(judge), key=lambda one: (round(one.created_at_utc_s * 1e6), one.id), reverse=True
    )
    found = [one.id for one in page.sagas]
    judge.expect(
        page.sagas == expected,
        "I27",
        lambda: f"listed {found}, there are {[one.id for one in expected]}",
    )


def _there(judge: Judge) -> list[SagaState]:
    return [one for one in judge.log.states.values() if not one.deleted]


# At the end


def i04_no_step_is_skipped(judge: Judge, state: SagaState) -> None:
    if state.status is not COMPLETED:
        return
    first_s: dict[str, int] = {}
    for at, entry in enumerate(_effects_of(judge, state.id)):
        if entry.phase == "action":
            first_s.setdefault(entry.step_id, at)
    for step_id, step in state.steps.items():
        if _is_skipped(state, step_id):
            continue
        key = f"{state.id}/{step_id}/action/{step.action.epoch}"
        counts = judge.world.services[state.step(step_id).service].ledger.counts
        judge.expect(counts[key], "I4", lambda: f"{state.id} is completed without {key}")
    for step_id, needs in state.graph.dependencies.items():
        for need in needs:
            if _is_skipped(state, step_id) or _is_skipped(state, need):
                continue
            judge.expect(
                first_s.get(need, -1) < first_s.get(step_id, 1 << 30),
                "I4",
                lambda: f"{state.id}: {step_id} came before {need}, which it needs",
            )


def _is_skipped(state: SagaState, step_id: str) -> bool:
    by_hand = state.steps[step_id].by_hand
    return by_hand is not None and by_hand.skipped


def i07_what_was_undone_is_undone(judge: Judge, state: SagaState) -> None:
    effects = _effects_of(judge, state.id)
    for step_id, step in state.steps.items():
        spec = state.step(step_id)
        if spec.kind is StepKind.READ_ONLY or judge.promise(spec.service) is Promise.BLIND:
            continue
        net = judge.world.net(state.id, step_id)
        if step.status is UNDONE or step.action.outcome in (None, NOT_DONE):
            allowed = {0}
        elif is_done(step) and step.compensation.outcome is not UNKNOWN:
            allowed = {1}
        else:
            allowed = {0, 1}
        where = f"{state.id}/{step_id} is {step.status}, {step.action.outcome}"
        judge.expect(net in allowed, "I7", lambda: f"{where}, and its effect is there {net} times")
    if state.status is COMPENSATED:
        for step_id in scope_of(state):
            spec, step = state.step(step_id), state.steps[step_id]
            judge.expect(
                not spec.compensation
                or step.status is UNDONE
                or step.action.outcome in (None, NOT_DONE),
                "I7",
                lambda: (
                    f"{state.id} is compensated, and {step_id} is {step.status} {step.action.outcome}"
                ),
            )
    _undone_in_reverse(judge, state, effects)


def _undone_in_reverse(judge: Judge, state: SagaState, effects: list[Entry]) -> None:
    """An undo comes before those of the steps that its own needs, of the same run."""
    at = {entry.key: index for index, entry in enumerate(effects)}
    for step_id, needs in state.graph.dependencies.items():
        mine = at.get(
            f"{state.id}/{step_id}/compensation/{state.steps[step_id].compensation.epoch}"
        )
        spec = state.step(step_id)
        if mine is None or judge.promise(spec.service) is Promise.BLIND:
            continue
        for need in needs:
            if judge.promise(state.step(need).service) is Promise.BLIND or state.retry_count:
                continue
            theirs = at.get(
                f"{state.id}/{need}/compensation/{state.steps[need].compensation.epoch}"
            )
            judge.expect(
                theirs is None or mine < theirs,
                "I7",
                lambda: f"{state.id}: {need} was undone before {step_id}",
            )


def i08_what_is_not_undone_is_known(judge: Judge, state: SagaState) -> None:
    if state.status is not COMPENSATION_FAILED:
        return
    for step_id, step in state.steps.items():
        spec = state.step(step_id)
        if judge.promise(spec.service) is Promise.BLIND or spec.kind is StepKind.READ_ONLY:
            continue
        if judge.world.net(state.id, step_id):
            judge.expect(
                step.status is not UNDONE and step.action.outcome in (DONE, UNKNOWN),
                "I8",
                lambda: f"{state.id}: the effect of {step_id} is there, and nobody knows",
            )


def i34_what_a_forced_end_leaves_is_known(judge: Judge, state: SagaState) -> None:
    if state.status is ABANDONED and not state.is_erased:
        told = {one.step_id for one in remaining(state)}
        for step_id in state.steps:
            spec = state.step(step_id)
            if judge.promise(spec.service) is Promise.BLIND or spec.kind is StepKind.READ_ONLY:
                continue
            judge.expect(
                not judge.world.net(state.id, step_id) or step_id in told,
                "I34",
                lambda: f"{state.id} was ended by force, and the effect of {step_id} is not told",
            )
    if state.rerun_as and not state.is_erased:
        again = judge.log.states.get(state.rerun_as)
        judge.expect(
            again is not None and (again.rerun_of == state.id or again.is_erased),
            "I34",
            lambda: f"{state.id} was run again as {state.rerun_as}, which is {again}",
        )


def _effects_of(judge: Judge, saga_id: str) -> list[Entry]:
    return [entry for entry in judge.world.effects if entry.saga_id == saga_id]
