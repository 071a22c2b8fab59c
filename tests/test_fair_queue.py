from __future__ import annotations

from sagakeep.actors.fair_queue import SWEEP_MIN, FairQueue
from sagakeep.actors.job import Job
from sagakeep.effects import RunCall
from sagakeep.messages import Message
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.service import Call, Outcome

MAILBOX: Mailbox[Message] = Mailbox(10)


def job(name: str, number: int, phase: str = "action", repeated: bool = False) -> Job:
    key = f"{number}/a/{phase}/1"
    call = Call(str(number), name, "a", "shop", "do", phase, 1, key, {}, 30.0)  # type: ignore[arg-type]
    effect = RunCall("a", phase, 1, 1)  # type: ignore[arg-type]
    return Job(call, effect, MAILBOX, lambda _saga_id, _news: None, repeated)


def filled(*jobs: Job) -> FairQueue:
    queue = FairQueue()
    for one in jobs:
        queue.push(one)
    return queue


def emptied(queue: FairQueue) -> list[str]:
    return [f"{one.call.saga_name}{one.call.saga_id}" for one in popped(queue)]


def popped(queue: FairQueue) -> list[Job]:
    jobs = []
    while queue.length:
        jobs.append(queue.pop())
    return jobs


def test_names_take_turns_and_within_a_name_the_first_is_first() -> None:
    queue = filled(
        *(job("a", number) for number in range(4)), job("b", 1), job("c", 1), job("b", 2)
    )
    assert emptied(queue) == ["a0", "b1", "c1", "a1", "b2", "a2", "a3"]


def test_a_flood_lets_every_newcomer_in_after_one_turn() -> None:
    queue = filled(*(job("flood", number) for number in range(10_000)))
    for _ in range(100):
        queue.pop()
    queue.push(job("quiet", 1))
    assert emptied(queue)[:2] == ["flood100", "quiet1"]


def test_undos_go_before_actions_and_take_turns_among_themselves() -> None:
    undos = [job("a", 1, "compensation"), job("a", 2, "compensation"), job("b", 1, "compensation")]
    queue = filled(job("a", 8), job("b", 9), *undos)
    assert emptied(queue) == ["a1", "b1", "a2", "a8", "b9"]


def test_probes_are_of_undos_and_actions_by_turns() -> None:
    undos = [job("a", number, "compensation") for number in range(3)]
    queue = filled(*undos, job("b", 8), job("b", 9))
    probes = [queue.pop_probe().call.saga_id for _ in range(5)]
    assert probes == ["0", "8", "1", "9", "2"]


def test_what_was_dropped_is_not_counted_and_does_not_come_out() -> None:
    jobs = [job("a", number) for number in range(5)]
    dropped: list[int] = []
    queue = FairQueue(lambda: dropped.append(queue.length))
    for one in jobs:
        queue.push(one)
    jobs[0].drop()
    jobs[3].drop()
    jobs[3].drop()
    assert (queue.length, dropped) == (3, [4, 3])
    assert emptied(queue) == ["a1", "a2", "a4"]
    assert jobs[1].queue is None
    jobs[1].drop()  # it has begun
    assert queue.length == 0


def test_most_of_what_was_dropped_does_not_stay() -> None:
    queue = FairQueue()
    kept = [job("a", 7), job("b", 8), job("b", 9, "compensation")]
    for one in kept:
        queue.push(one)
    for number in range(100_000):
        one = job("a" if number % 2 else f"name {number}", number)
        queue.push(one)
        one.drop()
        there = sum(map(len, [*queue._undos.of_name.values(), *queue._actions.of_name.values()]))
        assert there <= SWEEP_MIN + len(kept) + 1
    assert emptied(queue) == ["b9", "a7", "b8"]


def test_a_job_is_withdrawn_only_while_it_waits_and_if_it_was_never_made() -> None:
    waiting, repeated, begun = job("a", 1), job("a", 2, repeated=True), job("b", 3)
    queue = filled(begun, waiting, repeated)
    assert queue.pop() is begun
    for one in (waiting, waiting, repeated, begun):
        one.withdraw(0.5)
    envelope = MAILBOX.take_nowait()
    assert envelope is not None
    result = envelope.message.result  # type: ignore[union-attr]
    assert (result.outcome, result.permanent) == (Outcome.NOT_DONE, True)
    assert MAILBOX.take_nowait() is None
    assert popped(queue) == [repeated]
