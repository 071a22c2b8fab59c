"""Findings as they are printed: for people with their place in the file, for programs as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from sagakeep.definition_file import DefinitionFile
from sagakeep.findings.figures import figures
from sagakeep.findings.finding import Finding, Severity
from sagakeep.findings.review import findings_in
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
