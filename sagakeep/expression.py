"""What a JMESPath expression can be seen to read, before it is ever evaluated.

The document is `{"saga": {...}, "steps": {ID: {"result", "outcome"}}}`. Each node of the syntax tree
is followed with the place that its value has in it:

    ROOT --saga--> SAGA --tags-> TAGS          VALUE: anything; what is read of it is not our business
    ROOT --steps-> STEPS --ID-> STEP --result, outcome-> VALUE

What is read of SAGA and TAGS is a VALUE, and its name is noted: it may be one that is never there.

A value that is ROOT or STEPS may be followed further but not used: `keys(steps)` would see, or not
see, steps that run at the same time, and a saga would depend on luck.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, cast

import msgspec
from jmespath.functions import Functions

COPIES_MAX: Final = 100  # of one part of the input in the result: `[@, @] | [@, @]` makes 4


class Place(Enum):
    """Where in the document the value of a node is."""

    ROOT = "the whole document"
    STEPS = "all steps at once"
    STEP = "a step"
    SAGA = "the saga"
    TAGS = "the saga's tags"
    VALUE = "a value"


class Reading(msgspec.Struct, frozen=True):
    """What an expression reads: the ids of steps, and what is wrong with how it reads.

    `results` are those of the steps whose result it reads, `saga_fields` and `tags` what it reads of the
    saga. `path` is the step and the keys on the way to a value in its result, None for an expression that
    does more than to go there.
    """

    steps: tuple[str, ...]
    complaints: tuple[str, ...]
    results: tuple[str, ...]
    saga_fields: tuple[str, ...]
    tags: tuple[str, ...]
    path: tuple[str, ...] | None


class Node(msgspec.Struct, frozen=True):
    """A node of jmespath's syntax tree; `children` of a slice are numbers, which are left out."""

    kind: str
    value: object
    children: tuple[Node, ...]


def reading_of(tree: object) -> Reading:
    """Follow a syntax tree of `jmespath.compile`. Raises RecursionError when it is too deep."""
    reader = _Reader()
    node = _node_of(tree)
    reader.use(node, Place.ROOT)
    if _copies(node) > COPIES_MAX:
        reader.complain(f"may copy a value more than {COPIES_MAX} times")
    return Reading(
        tuple(reader.steps),
        tuple(reader.complaints),
        results=tuple(reader.results),
        saga_fields=tuple(reader.saga_fields),
        tags=tuple(reader.tags),
        path=_path_of(node),
    )


class _Reader:
    def __init__(self) -> None:
        self.steps: dict[str, None] = {}  # an ordered set, like the next
        self.complaints: dict[str, None] = {}
        self.results: dict[str, None] = {}
        self.saga_fields: dict[str, None] = {}
        self.tags: dict[str, None] = {}
        self._step = ""  # the one that a place of STEP is; only its own members can be read there

    def complain(self, text: str) -> None:
        self.complaints[text] = None

    def use(self, node: Node, scope: Place) -> Place:
        """Follow a node whose value goes into the result."""
        place = self.follow(node, scope)
        if place is Place.ROOT or place is Place.STEPS:
            self.complain(f"reads {place.value}: name one step, as in steps.ID.result")
        elif place is Place.STEP:
            self.results[self._step] = None
        return Place.VALUE

    def follow(self, node: Node, scope: Place) -> Place:
        """Return the place of the node's value when `@` is at `scope`."""
        return _FOLLOW.get(node.kind, _Reader._parts)(self, node, scope)

    def _here(self, node: Node, scope: Place) -> Place:
        return scope

    def _field(self, node: Node, scope: Place) -> Place:
        name = str(node.value)
        if scope is Place.ROOT and name == "steps":
            return Place.STEPS
        if scope is Place.ROOT and name == "saga":
            return Place.SAGA
        if scope is Place.ROOT:
            self.complain(f'reads "{name}", but there is only "saga" and "steps"')
        elif scope is Place.STEPS:
            self.steps[name] = None
            self._step = name
            return Place.STEP
        elif scope is Place.STEP:
            self._member(name)
        elif scope is Place.SAGA:
            self.saga_fields[name] = None
            return Place.TAGS if name == "tags" else Place.VALUE
        elif scope is Place.TAGS:
            self.tags[name] = None
        return Place.VALUE

    def _member(self, name: str) -> None:
        if name == "result":
            self.results[self._step] = None
        elif name != "outcome":
            self.complain(f'reads "{name}" of a step, which has only "result" and "outcome"')

    def _chain(self, node: Node, scope: Place) -> Place:
        for link in node.children:
            scope = self.follow(link, scope)
        return scope

    def _projection(self, node: Node, scope: Place) -> Place:
        """The first child is what is projected; the others see its elements."""
        self.use(node.children[0], scope)
        for each in node.children[1:]:
            self.use(each, Place.VALUE)
        return Place.VALUE

    def _parts(self, node: Node, scope: Place) -> Place:
        """Every child sees the same `@`, and its value is used."""
        for part in node.children:
            self.use(part, scope)
        return Place.VALUE

    def _of_element(self, node: Node, scope: Place) -> Place:
        return self._parts(node, Place.VALUE)

    def _call(self, node: Node, scope: Place) -> Place:
        spec = Functions.FUNCTION_TABLE.get(str(node.value))
        if spec is None:
            self.complain(f"calls {node.value}(), which is no function of JMESPath")
        else:
            wanted, given = len(spec["signature"]), len(node.children)
            variadic = bool(spec["signature"][-1].get("variadic"))
            if given < wanted or (given > wanted and not variadic):
                self.complain(f"calls {node.value}() with {given} arguments; it takes {wanted}")
        return self._parts(node, scope)


_Follow = Callable[[_Reader, Node, Place], Place]
_FOLLOW: Final[dict[str, _Follow]] = {
    "current": _Reader._here,
    "identity": _Reader._here,
    "field": _Reader._field,
    "subexpression": _Reader._chain,
    "index_expression": _Reader._chain,
    "pipe": _Reader._chain,
    "projection": _Reader._projection,
    "value_projection": _Reader._projection,
    "filter_projection": _Reader._projection,
    "expref": _Reader._of_element,
    "function_expression": _Reader._call,
}
_PRODUCTS: Final = frozenset(
    {"subexpression", "index_expression", "pipe", "projection", "value_projection"}
)


def _path_of(node: Node) -> tuple[str, ...] | None:
    """Return the step and the keys behind `steps.ID.result`, when the expression is that and no more."""
    keys = _keys_of(node)
    if keys is None or len(keys) < 3 or keys[0] != "steps" or keys[2] != "result":
        return None
    return (keys[1], *keys[3:])


def _keys_of(node: Node) -> tuple[str, ...] | None:
    if node.kind in ("field", "index"):
        return (str(node.value),)
    if node.kind not in ("subexpression", "index_expression"):
        return None
    keys: tuple[str, ...] = ()
    for child in node.children:
        more = _keys_of(child)
        if more is None:
            return None
        keys += more
    return keys


def _copies(node: Node) -> int:
    """Return how many times a part of the input may be in the value, at most; 1 for a leaf.

    What is applied to the value of something else multiplies, what stands side by side adds up.
    """
    counts = [_copies(one) for one in node.children] or [1]
    if node.kind == "function_expression":
        return _copies_of_call(str(node.value), counts)
    if node.kind in _PRODUCTS:
        return _product(counts)
    if node.kind == "filter_projection":
        return _product(counts[:2])
    return sum(counts)


def _copies_of_call(name: str, counts: list[int]) -> int:
    if name == "map":  # an expression for each element
        return _product(counts)
    if name == "to_string":  # escapes: a quotation mark in it grows with each call
        return 4 * sum(counts)
    return sum(counts)


def _product(counts: list[int]) -> int:
    product = 1
    for count in counts:
        product = min(product * count, COPIES_MAX + 1)
    return product


def _node_of(tree: object) -> Node:
    raw = cast(dict[str, object], tree)  # jmespath's nodes are dicts of this shape
    children = cast(list[object], raw["children"])
    return Node(
        kind=str(raw["type"]),
        value=raw.get("value"),
        children=tuple([_node_of(one) for one in children if isinstance(one, dict)]),
    )
