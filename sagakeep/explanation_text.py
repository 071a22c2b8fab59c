"""An explanation as a page of text, for a terminal at three in the morning. Pure: no clock, no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sagakeep.explained import ExplanationView, MoveView, UndoCallView, UndoView
from sagakeep.story import outcome_words

_INDENT: Final = "  "


def explanation_text(view: ExplanationView) -> str:
    """Write it as a page of text."""
    lines = [f"{view['name']} {view['id']}: {view['status']}, at {view['at']}", view["summary"]]
    if view["nextAttemptAt"]:
        lines.append(f"The next attempt is at {view['nextAttemptAt']}.")
    lines += [f"Also: {wait['text']}." for wait in view["alsoWaitsFor"]]
    for title, body in (
        ("What happened", _story_lines(view)),
        ("What an undo would do now", undo_lines(view["undo"])),
        ("What you can do", _move_lines(view["moves"])),
    ):
        lines += ["", title, *(f"{_INDENT}{line}" for line in body)]
    return "\n".join(lines) + "\n"


def _story_lines(view: ExplanationView) -> Iterator[str]:
    if view["untold"]:
        yield f"... {view['untold']} events before; GET /api/sagas/{view['id']}/events has them"
    for sentence in view["story"]:
        yield f"{sentence['seq']:>4}  {sentence['timestamp']}  {sentence['text']}"
        if sentence["outcome"] is not None and sentence["rule"]:
            because = f"{outcome_words(sentence['outcome'])}, because {sentence['because']}"
            yield f"{'':>4}  {'':27}  {because}"


def undo_lines(undo: UndoView) -> Iterator[str]:
    """What an undo would do, in lines."""
    if undo["refusal"]:
        yield f"nothing: {undo['refusal']}"
    if undo["unlessDone"]:
        yield f"nothing, if the pivot {undo['unlessDone']!r}, which is in flight, is done; else:"
    if undo["settlesFirst"]:
        yield f"first the attempts in flight end: {', '.join(undo['settlesFirst'])}"
    for call in undo["calls"]:
        yield from _undo_call_lines(call)
    if not undo["calls"] and not undo["refusal"]:
        yield "no call: there is nothing to undo"
    if undo["endsAs"] == "failed":
        yield "then it stands still as failed, and may be retried from there or undone"
    if undo["stopsAt"]:
        yield f"then it would stand still as compensation_failed: {undo['stopsAt']}"
    for one in undo["remains"]:
        yield f"step {one['stepID']!r} stays as it is: {one['why']}"


def _undo_call_lines(call: UndoCallView) -> Iterator[str]:
    if_so = ", unless it turns out not to have happened" if call["onlyIfHappened"] else ""
    name = f"{call['service']}.{call['action']}"
    yield f"{call['stage']}. {name} undoes step {call['stepID']!r}, attempt {call['attempt']}{if_so}"
    payload = "known when what is in flight has ended"
    if call["payloadKnown"]:
        payload = json.dumps(call["payload"], ensure_ascii=False)
    yield f"   key {call['key']}, payload {payload}"


def _move_lines(moves: list[MoveView]) -> Iterator[str]:
    for move in moves:
        name = " ".join([move["move"], *_said(move)])
        how = f"    ({move['command']})" if move["isLegal"] else ""
        yield f"{name}: {move['text']}{how}"


def _said(move: MoveView) -> Iterator[str]:
    """Which step a move is about, and what it says of it."""
    if "stepID" in move["body"]:
        yield str(move["body"]["stepID"])
    if "as" in move["body"]:
        yield f"as {move['body']['as']}"
