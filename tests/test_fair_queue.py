from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

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


class Sleepers:
    """A queue in which whoever is behind the first `ahead` of its name leaves its place, and their jobs."""

    def __init__(self, ahead: int) -> None:
        self.called: list[str] = []
        self.queue = FairQueue(wake=self.called.append, is_slow=lambda: True, ahead=ahead)
        self.back = 0

    def push(self, one: Job) -> bool:
        """Let a job wait, and its saga sleep if it may; does it?"""
        self.queue.push(one)
        sleeps = one.may_sleep
        if sleeps:
            one.leave_place()
        return sleeps

    def come_back(self) -> None:
        """All that were called make their jobs again."""
        for saga_id in self.called[self.back :]:
            name, number, phase = saga_id.split()
            self.queue.take_place(named(name, int(number), phase))
        self.back = len(self.called)


def named(name: str, number: int, phase: str = "action", repeated: bool = False) -> Job:
    one = job(name, number, phase, repeated)
    one.call = replace(one.call, saga_id=f"{name} {number} {phase}")
    return one


def test_who_is_far_behind_sleeps_and_is_called_in_time_in_the_order_of_arrival() -> None:
    there = Sleepers(ahead=3)
    assert [there.push(named("a", number)) for number in range(10)] == 3 * [False] + 7 * [True]
    assert (there.queue.length, there.queue.asleep_count, there.called) == (10, 7, [])
    order = []
    while there.queue.length:
        one = there.queue.pop()
        assert one is not None
        order.append(one.call.saga_id)
        assert len(there.called) == min(7, len(order))  # so many as have left the first three
        there.come_back()
    assert order == [f"a {number} action" for number in range(10)]
    assert there.queue.asleep_count == 0
    assert there.queue.pop() is None


def test_who_is_not_back_yet_keeps_its_turn_and_lets_the_others_go_on() -> None:
    there = Sleepers(ahead=1)
    for number in range(3):
        there.push(named("a", number))
        there.push(named("b", number, "compensation"))
    there.push(named("c", 0))
    first = [there.queue.pop() for _ in range(3)]
    assert [one.call.saga_id for one in first if one] == [
        "b 0 compensation",
        "a 0 action",
        "c 0 action",
    ]
    assert there.queue.pop() is None
    assert there.queue.pop_probe() is None
    assert there.queue.length == 4
    there.come_back()
    rest = []
    while there.queue.length:
        one = there.queue.pop()
        assert one is not None
        rest.append(one.call.saga_id)
        there.come_back()
    assert rest == ["b 1 compensation", "b 2 compensation", "a 1 action", "a 2 action"]


def test_who_wakes_for_another_reason_has_its_place_and_may_leave_it_again() -> None:
    there = Sleepers(ahead=1)
    for number in range(4):
        there.push(named("a", number))
    poked = named("a", 2)
    assert there.queue.take_place(poked)
    assert poked.may_sleep
    poked.leave_place()
    assert (there.queue.length, there.queue.asleep_count) == (4, 3)
    again = named("a", 2)
    assert there.queue.take_place(again)
    order = []
    for _ in range(4):
        one = there.queue.pop()
        assert one is not None
        order.append(one)
        there.come_back()
    assert [one.call.saga_id for one in order] == [f"a {number} action" for number in range(4)]
    assert order[2] is again
    assert not there.queue.take_place(named("a", 1))  # it has gone


def test_who_was_called_stays_awake() -> None:
    there = Sleepers(ahead=1)
    there.push(named("a", 0))
    there.push(named("a", 1))
    there.queue.pop()
    assert there.called == ["a 1 action"]
    there.push(named("a", 2))
    called = named("a", 1)
    assert there.queue.take_place(called)
    assert not called.may_sleep


def test_that_an_attempt_may_have_been_made_before_is_not_forgotten_in_sleep() -> None:
    there = Sleepers(ahead=1)
    there.push(named("a", 0))
    there.push(named("a", 1, repeated=True))
    back = named("a", 1)
    assert there.queue.take_place(back)
    assert back.repeated


def test_nobody_sleeps_where_the_queue_moves_or_is_short() -> None:
    queue = FairQueue(ahead=1)
    for number in range(3):
        queue.push(one := named("a", number))
        assert not one.may_sleep
    there = Sleepers(ahead=3)
    assert not any(there.push(named("a", number)) for number in range(3))


def test_jobs_and_places_that_are_not_wanted_are_not_counted() -> None:
    there = Sleepers(ahead=1)
    for number in range(5):
        there.push(named("a", number))
    there.queue.forget("a 3 action")
    there.queue.forget("a 3 action")
    back = named("a", 2)
    there.queue.take_place(back)
    back.drop()
    assert (there.queue.length, there.queue.asleep_count) == (3, 2)
    assert list(there.queue.places("a 3 action")) == []
    assert list(there.queue.places("a 4 action")) == [back.effect]
    order = []
    while there.queue.length:
        one = there.queue.pop()  # None when it is only called by this
        order += [] if one is None else [one.call.saga_id]
        there.come_back()
    assert order == ["a 0 action", "a 1 action", "a 4 action"]


def test_a_sweep_calls_whoever_it_brings_near() -> None:
    there = Sleepers(ahead=1)
    jobs = [named("a", number) for number in range(2)]
    there.push(jobs[0])
    others = [named("b", number) for number in range(2 * SWEEP_MIN)]
    for one in others:
        there.queue.push(one)
    there.push(jobs[1])
    jobs[0].drop()
    for one in others:
        one.drop()
    assert there.called == ["a 1 action"]


@given(st.integers(1, 4), st.lists(st.sampled_from("aaabxyp."), max_size=60))
def test_the_order_is_that_of_a_queue_in_which_nobody_sleeps(ahead: int, moves: list[str]) -> None:
    """a, b: an action of that name; x, y: an undo of the names a and b; p: a pop; .: those called come back."""
    there, plain = Sleepers(ahead), FairQueue()
    ours, theirs = [], []
    for number, move in enumerate(moves):
        if move in "abxy":
            name = move if move in "ab" else {"x": "a", "y": "b"}[move]
            phase = "action" if move in "ab" else "compensation"
            there.push(named(name, number, phase))
            plain.push(named(name, number, phase))
        elif move == "p" and plain.length:
            there.come_back()
            ours.append(there.queue.pop())
            theirs.append(plain.pop())
        else:
            there.come_back()
        assert there.queue.length == plain.length
    assert [one and one.call.saga_id for one in ours] == [
        one and one.call.saga_id for one in theirs
    ]
