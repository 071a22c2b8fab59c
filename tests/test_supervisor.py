"""A restart budget: so many in so long, and for one child alone."""

from __future__ import annotations

import trio
import trio.testing

from sagakeep.runtime.supervisor import RestartBudget


def test_a_budget_keeps_no_more_times_than_it_has_restarts() -> None:
    async def spend() -> None:
        budget = RestartBudget(3, 60)
        assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
        assert len(budget._times_s) == 3

    trio.run(spend)


async def test_a_budget_is_spent_within_its_period_and_renewed_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    budget = RestartBudget(3, 60)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    await trio.sleep(59)
    assert not budget.spend()
    await trio.sleep(1)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
