"""Proofs as they are printed: for people a table and the stories of what failed, for programs one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from sagakeep.definition import SagaDefinition
from sagakeep.logs import escaped
from sagakeep.proof.proof import Failure, Family, Proof, end_of, shortest_first
from sagakeep.proof.stage import Played
from sagakeep.proof.story import story_of
from sagakeep.proof.verdict import Broken
from sagakeep.saga_status import SagaStatus
from sagakeep.view import event_views

STORIES_SHOWN_MAX: Final = 3


def print_proof(name: str, definition: SagaDefinition, proof: Proof, command: str) -> None:
    """Print the table, what was proved, and the first stories; `command` replays one, up to its scenario."""
    _print_table(proof)
    verb = "holds" if proof.held == 1 else "hold"
    click.echo(f"{name}: {proof.worlds:,} worlds, {proof.held:,} {verb}")
    if proof.left_out:
        click.echo(f"{proof.left_out:,} more are left out; --all plays them")
    _print_unreached(definition, proof)
    failures = shortest_first(proof.failures)
    for at, failure in enumerate(failures[:STORIES_SHOWN_MAX], start=1):
        click.echo(f"\nworld {at} that does not hold")
        _print_lines(_text(definition, failure))
        click.echo(escaped(f"  replay: {command} '{failure.played.scenario}'"))
    if len(failures) > STORIES_SHOWN_MAX:
        click.echo(f"\nand {len(failures) - STORIES_SHOWN_MAX:,} more, which --json has all")


def _print_unreached(definition: SagaDefinition, proof: Proof) -> None:
    for end in proof.unreached:
        click.echo(click.style(f"no world ends {end}, which is expected", "red"))
    if SagaStatus.COMPLETED in proof.unreached:
        _print_lines(story_of(definition, proof.well, ()).text())


def proof_document(definition: SagaDefinition, proof: Proof) -> dict[str, object]:
    """The same for programs."""
    return {
        "worlds": proof.worlds,
        "held": proof.held,
        "failed": [_failed(definition, one) for one in shortest_first(proof.failures)],
        "leftOut": proof.left_out,
        "ends": dict(proof.ends),
        "unreached": list(proof.unreached),
    }


def print_replay(
    definition: SagaDefinition, played: Played, broken: Sequence[Broken], *, as_json: bool
) -> None:
    """Print one world with its events and its whole trace."""
    events = [view for record in played.records for view in event_views(record, definition)]
    if as_json:
        failure = Failure(Family.WELL, played, list(broken))
        document = {**_failed(definition, failure), "events": events, "trace": list(played.trace)}
        click.echo(msgspec.json.encode(document).decode())
        return
    _print_lines(story_of(definition, played, broken).text())
    click.echo("\nevents of the saga")
    for view in events:
        detail = f": {view['error']}" if view["error"] else ""
        click.echo(escaped(f"  {view['seq']:>4}  {view['type']}  {view['stepID']}{detail}"))
    click.echo("\ntrace: seconds, steps of tasks, what was done")
    for line in played.trace:
        click.echo(f"  {escaped(line)}")


def _print_lines(text: str) -> None:
    for line in text.split("\n"):
        click.echo(escaped(line))


def _failed(definition: SagaDefinition, failure: Failure) -> dict[str, object]:
    story = story_of(definition, failure.played, failure.broken)
    return {
        "story": story.text(),
        "replay": str(failure.played.scenario),
        "end": end_of(failure.played),
        "broken": [
            {"breach": one.breach, "stepID": one.step_id, "detail": one.text}
            for one in failure.broken
        ],
    }


def _text(definition: SagaDefinition, failure: Failure) -> str:
    return story_of(definition, failure.played, failure.broken).text()


def _print_table(proof: Proof) -> None:
    """One row for each family of worlds, one for each end; rich is imported here, for only people need it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title, justify in (("what goes wrong", "left"), ("worlds", "right"), ("hold", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left")
    for row in _rows(proof):
        table.add_row(*row)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    ends = ", ".join(f"{count:,} {end}" for end, count in proof.ends.most_common())
    console.print(f"\nends: {ends}")


def _rows(proof: Proof) -> Iterator[tuple[str, str, str]]:
    failed = Counter(failure.family for failure in proof.failures)
    for family, worlds in proof.families.items():
        yield family, f"{worlds:,}", f"{worlds - failed[family]:,}"
