"""What a definition may take at worst, as lines for a person: they are no findings, and are told beside them."""

from __future__ import annotations

from sagakeep.definition import SagaDefinition
from sagakeep.findings.worst_case import WorstCase, in_words, worst_case_of


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
