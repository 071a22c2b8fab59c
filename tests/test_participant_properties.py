"""Whatever comes, in whatever order: each effect at most once, and none after its undo."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from participant_world import BehindBarrier, BehindMiddleware, Model, Wanted

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # hundreds of files, each synced
ACTIONS = ("a-1", "a-2")
UNDOS = ("u-1", "u-2", "u-3")
THEN = st.sampled_from(["done", "done", "done", "refuse", "later", "raise", "crash", "die"])

actions = st.builds(
    lambda key, then: Wanted("action", key, then=then), st.sampled_from(ACTIONS), THEN
)
probes = st.builds(lambda key: Wanted("probe", key), st.sampled_from(ACTIONS))
undos = st.builds(
    lambda key, number, is_known, then: Wanted(
        "compensation", f"{key}/{number}", key, is_known, then
    ),
    *(st.sampled_from(ACTIONS), st.sampled_from(UNDOS), st.booleans(), THEN),
)


@pytest.mark.parametrize("kind", [BehindBarrier, BehindMiddleware])
@settings(max_examples=80)
@given(requests=st.lists(st.one_of(actions, undos, actions, undos, probes), max_size=12))
def test_each_effect_is_there_at_most_once_and_never_after_its_undo(kind, requests):
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        service = kind(str(Path(directory, "service.sqlite")))
        model = Model(kind.is_one_transaction)
        closed = set()
        try:
            for wanted in requests:
                before = len(service.ledger())
                said = service.call(wanted)
                assert said == model.call(wanted)
                new = service.ledger()[before:]
                assert not closed & set(new), "an action came after its undo"
                closed |= _closed_by(wanted, said)
            assert service.ledger() == model.ledger
            assert len(set(service.ledger())) == len(service.ledger()), "an effect is there twice"
        finally:
            service.close()


def _closed_by(wanted, said):
    """The actions that may never happen from now on."""
    if wanted.phase == "probe":
        return {wanted.key} if said == "not done" else set()
    is_undone = wanted.phase == "compensation" and (said == "empty" or said.startswith("did "))
    return {wanted.action_key} if is_undone else set()
