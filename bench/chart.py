"""A chart, drawn as SVG: lines over a number, or bars with a mark where the goal is; for light and for dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 720
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 48, 52
COLOURS: Final = ("#2f6fde", "#d9622b", "#3d9950", "#8a4fbf")
TICKS: Final = 5
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1b1f24 }
.title { font-size: 16px; font-weight: 600 }
.grid { stroke: #8888; stroke-width: 0.5 }
.goal { stroke: #b42318; stroke-width: 1.5; stroke-dasharray: 5 4 }
.paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .paper { fill: #0d1117 } .goal { stroke: #ff7b72 } }
"""


class Series(NamedTuple):
    """One line: its name, and its points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


class Bar(NamedTuple):
    """One bar; `goal` is marked across it, None is no goal."""

    name: str
    value: float
    goal: float | None = None


def line_chart(
    title: str, x_name: str, series: Sequence[Series], *, goal: float | None = None
) -> str:
    """Draw lines from zero up; `goal` is a line across."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    top = nice_top(max([*ys, goal or 0.0], default=1.0))
    first, last = min(xs, default=0.0), max(xs, default=1.0)

    def x_of(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    parts = [*_grid(top), *_x_names(x_name, first, last)]
    for index, (name, points) in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{_y_of(y, top):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        )
        parts += _legend(index, name, colour)
    if goal is not None:
        parts.append(_goal(LEFT, WIDTH - RIGHT, goal, top))
    return _document(title, parts)


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Draw bars side by side, each with its value on top."""
    top = nice_top(max([1e-9, *(max(bar.value, bar.goal or 0.0) for bar in bars)]))
    width = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    parts = _grid(top)
    for index, bar in enumerate(bars):
        left, y = LEFT + (index + 0.2) * width, _y_of(bar.value, top)
        parts.append(
            f'<rect x="{left:.1f}" y="{y:.1f}" width="{0.6 * width:.1f}"'
            f' height="{HEIGHT - BOTTOM - y:.1f}" fill="{COLOURS[0]}"/>'
        )
        middle = LEFT + (index + 0.5) * width
        parts.append(_text(middle, y - 6, short(bar.value), "middle"))
        for line, word in enumerate(bar.name.rsplit(" ", 1)):
            parts.append(_text(middle, HEIGHT - BOTTOM + 18 + 16 * line, word, "middle"))
        if bar.goal is not None:
            parts.append(_goal(left - 0.1 * width, left + 0.7 * width, bar.goal, top))
    return _document(title, parts)


def nice_top(value: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= value)


def short(value: float) -> str:
    """Write a number in as few characters as it needs."""
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _y_of(y: float, top: float) -> float:
    return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)


def _grid(top: float) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        value = top * tick / TICKS
        y = _y_of(value, top)
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, short(value), "end"))
    return parts


def _x_names(name: str, first: float, last: float) -> list[str]:
    y = HEIGHT - BOTTOM + 20
    return [
        _text(LEFT, y, short(first), "start"),
        _text(WIDTH - RIGHT, y, short(last), "end"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, name, "middle"),
    ]


def _legend(index: int, name: str, colour: str) -> list[str]:
    x = LEFT + 8 + index * 160
    line = f'<line x1="{x}" y1="38" x2="{x + 18}" y2="38" stroke="{colour}" stroke-width="3"/>'
    return [line, _text(x + 24, 42, name, "start")]


def _goal(left: float, right: float, goal: float, top: float) -> str:
    y = _y_of(goal, top)
    return f'<line class="goal" x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' width="{WIDTH}" height="{HEIGHT}"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    paper = f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'
    name = f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>'
    return "\n".join([head, paper, name, *parts, "</svg>"]) + "\n"
