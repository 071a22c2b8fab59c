from __future__ import annotations

import pytest
from event_samples import DEFINITION, SAMPLES
from msgspec.structs import replace

from sagakeep import events as e
from sagakeep.service import Outcome
from sagakeep.story import story_of


def text_of(event: e.AnyEvent) -> str:
    record = e.Record("order-1", 1, 1_700_000_000.0, None, (event,))
    (sentence,) = story_of([record], DEFINITION)
    return sentence.text


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_is_told_in_whole_sentences_that_name_who_and_what(event: e.AnyEvent) -> None:
    text = text_of(event)
    assert text[0].isupper() or text[0] == "'"
    assert text.endswith(".")
    said = [getattr(event, name, "") for name in ("step_id", "error", "by", "note")]
    if not isinstance(event, e.SagaCreated):  # whose note is none
        assert [one for one in said if one and one not in text] == []


def test_no_two_events_are_told_alike() -> None:
    assert len({text_of(event) for event in SAMPLES}) == len(SAMPLES)


def test_a_probe_says_whether_it_is_made_again() -> None:
    asked = e.StepProbed("a", 1, Outcome.UNKNOWN, None, "no answer", 1_700_000_002.5)
    assert "It is asked again at 2023-" in text_of(asked)
    assert "It is not asked again." in text_of(replace(asked, retry_at_utc_s=0.0))
    assert "asked again" not in text_of(replace(asked, outcome=Outcome.DONE))


def test_a_failure_says_whether_somebody_will_be_asked() -> None:
    failed = e.StepFailed("a", 2, Outcome.UNKNOWN, "timed out", 0.25, True)
    assert "stock.ask will be asked whether it happened." in text_of(failed)
    assert "asked" not in text_of(replace(failed, probing=False))
