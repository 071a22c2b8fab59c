"""Checks of probes: what a service says of an action has to be true, and to stay true."""

from __future__ import annotations

from typing import Final

from sagakeep.grade.check import Check
from sagakeep.grade.expect import (
    Blocked,
    Misbehaved,
    Severity,
    expect_done,
    expect_refused,
    need_done,
    text_of,
)
from sagakeep.grade.trial import Trial
from sagakeep.service import AttemptResult


async def _probe_done(trial: Trial) -> None:
    action = await trial.action()
    need_done(action, "the action")
    probe = await trial.probe()
    _expect_said(probe, "done")
    if isinstance(probe.result, dict) and probe.result.get("result") != action.result:
        raise Misbehaved(f"the probe: {text_of(probe)}; the action's answer was {text_of(action)}")
    await trial.expect_effects((1, 0))


async def _probe_nothing(trial: Trial) -> None:
    for _ in range(2):
        _expect_said(await trial.probe(), "not_done")
    await trial.expect_effects((0, 0))


async def _action_after_probe(trial: Trial) -> None:
    probe = await trial.probe()
    if _said(probe) != "not_done":
        raise Blocked(f"it builds on a probe that says not_done: {text_of(probe)}")
    late = await trial.action()
    await trial.expect_effects((0, 0))
    expect_refused(late, "the action after a probe that said not_done")


async def _probe_undone(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    need_done(await trial.undo(), "its undo")
    probe = await trial.probe()
    need_done(probe, "a probe")
    _expect_said(probe, "not_done")


def _expect_said(probe: AttemptResult, outcome: str) -> None:
    expect_done(probe, "the probe")
    if _said(probe) != outcome:
        raise Misbehaved(f'the probe: {text_of(probe)}; expected {{"outcome": "{outcome}", ...}}')


def _said(probe: AttemptResult) -> object:
    return probe.result.get("outcome") if isinstance(probe.result, dict) else None


PROBES: Final = (
    Check(
        "probe-done",
        "a probe of what was done says so, with its answer",
        Severity.MAJOR,
        ("probe",),
        "the saga would undo, or wait for, what is done; later steps need the result",
        'answer 200 {"outcome": "done", "result": what the action answered}',
        _probe_done,
    ),
    Check(
        "probe-nothing",
        "a probe of what never came says not_done",
        Severity.MAJOR,
        ("probe",),
        "without an answer the saga has to undo what may not have happened",
        'answer 200 {"outcome": "not_done"}',
        _probe_nothing,
    ),
    Check(
        "action-after-probe",
        "what a probe said was not done stays not done",
        Severity.CRITICAL,
        ("probe",),
        "the saga goes on as if the action had failed; when it arrives late it is done, and never undone",
        "write the key down as barred when a probe says not_done, and answer 409 to the action",
        _action_after_probe,
    ),
    Check(
        "probe-undone",
        "a probe of what was undone says not_done",
        Severity.MAJOR,
        ("compensation", "probe"),
        "the saga would take for done what is gone",
        "look at the mark that the undo leaves on the action",
        _probe_undone,
    ),
)
