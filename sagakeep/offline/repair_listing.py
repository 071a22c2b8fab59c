"""What `repair` prints, before and after: nothing is changed that was not told."""

from __future__ import annotations

import json
from typing import Final

import click

from sagakeep.errors import JournalError
from sagakeep.offline.mend import plan_mending
from sagakeep.offline.repair import plan_quarantine, plan_truncation
from sagakeep.offline.repair_plan import Plan, carry_out
from sagakeep.runtime.amendment import finish_amendment
from sagakeep.runtime.disk import Disk, LocalDisk
from sagakeep.runtime.journal_directory import Paths

SAGAS_SHOWN_MAX: Final = 50


def repair_directory(
    directory: str, position: int | None, saga_ids: frozenset[str], *, yes: bool, as_json: bool
) -> bool:
    """Plan a repair, print it and, if `yes`, carry it out; tell whether the directory is good, or would be.

    Raises JournalLocked when a server runs on it, and JournalError.
    """
    disk, paths = LocalDisk(), Paths(directory.rstrip("/") or "/")
    lock = disk.lock(paths.lock)
    try:
        finished = _finish(disk, paths, yes=yes)
        plan = _plan(disk, paths, position, saga_ids)
        is_worth_it = not plan.is_empty and (plan.is_mending or not plan.complaint)
        will_do = yes and is_worth_it
        aside = carry_out(disk, paths, plan) if will_do else ""
    finally:
        lock.release()
    if as_json:
        click.echo(
            json.dumps({**plan.told(), "done": will_do, "aside": aside, "finished": finished})
        )
    else:
        if finished:
            click.echo(f"a repair that was interrupted is finished: see {finished}")
        click.echo("\n".join(_lines(plan, aside)))
    return not plan.complaint


def _finish(disk: Disk, paths: Paths, *, yes: bool) -> str:
    if not yes and disk.exists(paths.repair):
        raise JournalError(f"{paths.repair}: a repair was interrupted: --yes finishes it first")
    return finish_amendment(disk, paths)


def _plan(disk: Disk, paths: Paths, position: int | None, saga_ids: frozenset[str]) -> Plan:
    if position is not None:
        return plan_truncation(disk, paths, position)
    if saga_ids:
        return plan_quarantine(disk, paths, saga_ids)
    return plan_mending(disk, paths)


def _lines(plan: Plan, aside: str) -> list[str]:
    if plan.complaint and (plan.is_empty or not plan.is_mending):
        return ["nothing was changed: it would still be damaged:", *_complaint(plan)]
    if plan.is_empty:
        return ["there is nothing to repair"]
    lines = [f"{plan.what}:", *_lost(plan)]
    lines += [f"  {one.path} is replaced" for one in plan.amendment.replaced]
    lines += [f"  {path} is set aside" for path in plan.amendment.removed]
    if aside:
        lines.append(f"done; the original bytes are in {aside}")
    else:
        lines.append("nothing was changed yet: --yes does it")
    return [*lines, "it is still damaged then:", *_complaint(plan)] if plan.complaint else lines


def _complaint(plan: Plan) -> list[str]:
    lines = [f"  {plan.complaint}"]
    return [*lines, f"try then: {plan.next_command}"] if plan.next_command else lines


def _lost(plan: Plan) -> list[str]:
    lines = []
    for loss in plan.losses[:SAGAS_SHOWN_MAX]:
        then = f"it is {loss.after} again" if loss.after else "nothing is left of it"
        lines.append(f"  saga {loss.saga_id}: events {loss.first} to {loss.last} are lost; {then}")
    if len(plan.losses) > SAGAS_SHOWN_MAX:
        lines.append(f"  and {len(plan.losses) - SAGAS_SHOWN_MAX} more sagas: --json lists all")
    for gap in plan.gaps:
        named = f"; they name {', '.join(gap.sagas)}" if gap.sagas else ""
        where = f"{gap.path}: offset {gap.offset}"
        lines.append(f"  {where}: {gap.length} bytes cannot be read{named}")
    return lines or ["  no event is lost"]
