"""Validation: a document becomes a saga definition, or every reason why it does not.

A valid document takes the fast way: `msgspec.convert` as a whole, then checks that only compare. Only
when that conversion refuses is the document walked field by field (`sagakeep.conversion`) to find
all faults of type; both ways go on to the same checks of meaning below, so that all faults of a
document are told at once. Only what needs an order of the steps waits until they have one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from sagakeep import limits
from sagakeep.conversion import read_struct
from sagakeep.definition import InDoubt, RetryPolicy, SagaDefinition, Step, StepKind
from sagakeep.faults import Faults, found
from sagakeep.json_value import faults_in
from sagakeep.order import check_order
from sagakeep.pointer import child, tokens_of

_is_name: Final = re.compile(limits.NAME_PATTERN).fullmatch
_DEFAULT_RETRY: Final = RetryPolicy()


def parse_definition(document: object, services: Collection[str] | None) -> SagaDefinition:
    """Return the definition that a document of plain JSON values is, with every `dependsOn` made explicit.

    `services` are the names of those configured; None does not check them. Raises InvalidDefinition
    with all faults; values in payloads that no JSON has (a NaN, an object of a class) are told after them.
    """
    definition = definition_of(document, services)
    faults_in(document).raise_any()
    return definition


def definition_of(document: object, services: Collection[str] | None) -> SagaDefinition:
    """Do as `parse_definition` for a document that was JSON text: `sagakeep.json_text` checked its values."""
    faults = Faults()
    definition = _converted(document, faults)
    steps = _with_dependencies(document, definition.steps)
    _check_saga(definition, document, faults)
    checked = steps[: limits.STEPS_MAX]  # more are one fault; what is in them costs us nothing
    for at, step in enumerate(checked):
        _check_step(step, f"/steps/{at}", services, faults)
    check_order(checked, faults)
    faults.raise_any()
    return msgspec.structs.replace(definition, steps=steps)


def _converted(document: object, faults: Faults) -> SagaDefinition:
    try:
        return msgspec.convert(document, SagaDefinition, strict=True)
    except msgspec.ValidationError as error:
        definition = read_struct(SagaDefinition, document, faults)
        if not faults:  # the two ways differ: refuse, with what there is to say
            faults.add("", str(error))
        return definition


def _with_dependencies(document: object, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Give each step without a `dependsOn` the step before it."""
    given = document.get("steps") if isinstance(document, dict) else ()
    if not isinstance(given, list | tuple):
        return steps
    explicit: list[Step] = []
    for at, (step, raw) in enumerate(zip(steps, given, strict=False)):
        if at and not (isinstance(raw, dict) and "dependsOn" in raw):
            step = msgspec.structs.replace(step, depends_on=(steps[at - 1].id,))
        explicit.append(step)
    return tuple(explicit)


def _check_saga(definition: SagaDefinition, document: object, faults: Faults) -> None:
    _check_name(definition.name, "/name", faults)
    if definition.id or (isinstance(document, dict) and "id" in document):
        _check_name(definition.id, "/id", faults)
    if definition.id in limits.RESERVED_IDS:
        reserved = ", ".join(sorted(limits.RESERVED_IDS))
        faults.add("/id", f'is "{definition.id}"; reserved are {reserved}')
    if not 1 <= len(definition.steps) <= limits.STEPS_MAX:
        faults.add(
            "/steps", f"has {len(definition.steps)} steps; allowed are 1 to {limits.STEPS_MAX}"
        )
    _check_seconds(definition.timeout_s, "/timeout", faults)
    _check_retries(definition.retries_max, "/maxRetries", faults)
    if definition.tags:
        _check_tags(definition.tags, faults)


def _check_step(step: Step, pointer: str, services: Collection[str] | None, faults: Faults) -> None:
    _check_name(step.id, f"{pointer}/id", faults)
    _check_name(step.action, f"{pointer}/action", faults)
    _check_name(step.service, f"{pointer}/service", faults)
    if services is not None and step.service not in services:
        hint = faults.hint(step.service, services)
        faults.add(f"{pointer}/service", f"is {found(step.service)}, which is not configured{hint}")
    if step.compensation:
        _check_name(step.compensation, f"{pointer}/compensation", faults)
        if step.kind is StepKind.READ_ONLY:
            faults.add(
                f"{pointer}/compensation",
                f"is {found(step.compensation)}, but a readOnly step has nothing to undo",
            )
    if step.probe:
        _check_name(step.probe, f"{pointer}/probe", faults)
    elif step.in_doubt is InDoubt.PROBE:
        faults.add(f"{pointer}/probe", "is missing; inDoubt: probe needs the action that it calls")
    _check_patience(step, pointer, faults)
    for at, sensitive in enumerate(step.sensitive):
        if tokens_of(sensitive) is None:
            faults.add(
                f"{pointer}/sensitive/{at}",
                f'is {found(sensitive)}; expected a JSON Pointer such as "/card/number"',
            )


def _check_patience(step: Step, pointer: str, faults: Faults) -> None:
    """Check the numbers that say how long and how often a step is tried."""
    _check_seconds(step.timeout_s, f"{pointer}/timeout", faults)
    _check_retries(step.retries_max, f"{pointer}/maxRetries", faults)
    _check_retries(step.compensation_retries_max, f"{pointer}/compensationMaxRetries", faults)
    retry = step.retry
    if retry == _DEFAULT_RETRY:
        return
    _check_seconds(retry.initial_interval_s, f"{pointer}/retry/initialInterval", faults)
    _check_seconds(retry.interval_s_max, f"{pointer}/retry/maxInterval", faults)
    if retry.elapsed_s_max is not None:
        _check_seconds(retry.elapsed_s_max, f"{pointer}/retry/maxElapsed", faults)
    if not 1 <= retry.multiplier <= limits.RETRY_MULTIPLIER_MAX:
        allowed = f"allowed is 1 to {limits.RETRY_MULTIPLIER_MAX:g}"
        faults.add(f"{pointer}/retry/multiplier", f"is {retry.multiplier:g}; {allowed}")


def _check_name(name: str, pointer: str, faults: Faults) -> None:
    if not _is_name(name):
        faults.add(pointer, f"is {found(name)}; a name matches {limits.NAME_PATTERN}")


def _check_seconds(seconds: float, pointer: str, faults: Faults) -> None:
    if not 0 < seconds <= limits.TIMEOUT_S_MAX:
        allowed = f"allowed is above 0 up to {limits.TIMEOUT_S_MAX:.0f} (30 days)"
        faults.add(pointer, f"is {seconds} seconds; {allowed}")


def _check_retries(count: int, pointer: str, faults: Faults) -> None:
    if not 0 <= count <= limits.RETRIES_MAX:
        faults.add(pointer, f"is {found(count)}; allowed is 0 to {limits.RETRIES_MAX}")


def _check_tags(tags: dict[str, str], faults: Faults) -> None:
    if len(tags) > limits.TAGS_MAX:
        faults.add("/tags", f"has {len(tags)} tags; allowed are {limits.TAGS_MAX}")
    longest = limits.TAG_CHARS_MAX
    for key, value in tags.items():
        if not 1 <= len(key) <= longest:
            faults.add(
                child("/tags", key),
                f"has a key of {len(key)} characters; allowed are 1 to {longest}",
            )
        if len(value) > longest:
            faults.add(
                child("/tags", key), f"has {len(value)} characters; allowed are up to {longest}"
            )
