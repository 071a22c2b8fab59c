"""Findings as they are printed: for people with their place in the file, for programs as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from sagakeep.definition import SagaDefinition
from sagakeep.definition_file import DefinitionFile
from sagakeep.findings.finding import Finding, Severity
from sagakeep.findings.review import findings_in
from sagakeep.findings.worst_case import WorstCase, in_words, worst_case_of
from sagakeep.logs import escaped

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


def list_findings(file: DefinitionFile, *, as_json: bool) -> bool:
    """Print what `findings_in` finds in a file; tell whether there is anything."""
    findings = findings_in(file.definition)
    if as_json:
        click.echo(msgspec.json.encode({"findings": findings}).decode())
    else:
        _print_findings(file, findings)
        for line in figures(file.definition):
            click.echo(line)
    return bool(findings)


def _print_findings(file: DefinitionFile, findings: Sequence[Finding]) -> None:
    for one in findings:
        line, column = file.places.of(one.pointer)
        severity = click.style(one.severity, _COLOURS[one.severity])
        click.echo(f"{file.name}:{line}:{column}: {severity} {one.code} {escaped(one.pointer)}")
        click.echo(f"  {escaped(one.message)}")
        click.echo(f"  fix: {escaped(one.fix)}")
    steps = len(file.definition.steps)
    what = (
        f"{len(findings)} finding{'s' if len(findings) > 1 else ''}" if findings else "no findings"
    )
    click.echo(f"{file.name}: {steps} step{'s' if steps > 1 else ''}, {what}")


def figures(definition: SagaDefinition) -> list[str]:
    """Say how long a saga may take at worst, and how many calls it may make."""
    worst = worst_case_of(definition)
    lines = [
        f"at worst {_forward(definition, worst)}, then {in_words(worst.backward_s)} backward",
        f"at most {_calls(worst)}",
    ]
    if worst.endless:
        lines.append(f"without end, until they are done: {', '.join(worst.endless)}")
    return lines


def _forward(definition: SagaDefinition, worst: WorstCase) -> str:
    goal = "to the pivot" if any(step.kind == "pivot" for step in definition.steps) else "forward"
    if worst.forward_s <= definition.timeout_s:
        return f"{in_words(worst.forward_s)} {goal}"
    return f"{in_words(worst.forward_s)} {goal}, of which the timeout allows {in_words(definition.timeout_s)}"


def _calls(worst: WorstCase) -> str:
    counts = {"actions": worst.actions, "probes": worst.probes, "compensations": worst.undos}
    return (
        ", ".join(f"{count} calls of {name}" for name, count in counts.items() if count)
        or "no call"
    )
