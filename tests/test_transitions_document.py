"""The page of transitions says what the tables say."""

from __future__ import annotations

from pathlib import Path

from sagakeep.events import EVENT_NAMES, SagaCreated
from sagakeep.transitions_page import COMMAND, transitions_page

PAGE = Path(__file__).parent.parent / "docs" / "transitions.md"


def test_the_page_is_not_stale(rewrite: bool) -> None:
    if rewrite:
        PAGE.write_text(transitions_page())
    assert PAGE.read_text() == transitions_page(), f"docs/transitions.md is stale: run {COMMAND}"


def test_the_page_names_every_event() -> None:
    page = transitions_page()
    missing = [name for name, _ in EVENT_NAMES.values() if name not in page]
    assert missing == [EVENT_NAMES[SagaCreated][0]], "which is before any status"
