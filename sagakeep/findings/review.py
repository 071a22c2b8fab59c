"""Findings: what a careful reviewer would say about a valid definition, before it is ever run.

The rules are in `sagakeep.findings.rules`, each a function of a definition and its graph. They see what a saga
says, not what its services do: that is for the simulation.
"""

from __future__ import annotations

from typing import Final

from sagakeep.definition import SagaDefinition
from sagakeep.findings.finding import Finding
from sagakeep.findings.rules import data, doubt, patience, undo
from sagakeep.findings.rules.subject import Rule, Subject

RULES: Final[tuple[Rule, ...]] = (*undo.RULES, *doubt.RULES, *patience.RULES, *data.RULES)


def findings_in(definition: SagaDefinition) -> list[Finding]:
    """Return what should be changed, in the order of the document; nothing for a well-made saga."""
    subject = Subject(definition)
    found = [finding for rule in RULES for finding in rule(subject)]
    return sorted(found, key=_place)


def _place(finding: Finding) -> tuple[int, int]:
    """What is about the saga comes first, then what is about its steps, in their order."""
    head, _, rest = finding.pointer.removeprefix("/").partition("/")
    return (1, int(rest.partition("/")[0])) if head == "steps" and rest else (0, 0)
