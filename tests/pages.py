"""The project's pages of Markdown, as tests look at them: headings, links, blocks of code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str


def pages():
    """Every page that is kept in the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(text, *languages):
    return [Block(*found.groups()) for found in _BLOCK.finditer(text) if found[1] in languages]


def section(text, title):
    """The text under a heading of the second level."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"there is no section {title!r}"
    return match[1]


def prose(text):
    """The text without its code."""
    text = re.sub(r"^(    |\t).*$", "", _BLOCK.sub("", text), flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(text):
    """What a link into a page may name: its headings, and the anchors set by hand."""
    without_code = _BLOCK.sub("", text)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {anchor_of(one) for one in headings} | set(re.findall(r'<a id="([^"]+)">', text))


def anchor_of(heading):
    """As the hosts of repositories make it: lower case, no punctuation, `-` for a space."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def links(text):
    """The targets of links, without those in code."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))
