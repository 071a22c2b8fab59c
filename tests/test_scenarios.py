"""The golden traces in `tests/scenarios`: one for each rule of what happens when something goes wrong.

`pytest tests/test_scenarios.py --rewrite` tells them anew; read the diff before you keep it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import retold

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_is_as_it_was_told(path: Path, rewrite: bool) -> None:
    text = path.read_text()
    told = retold(text)
    if rewrite:
        path.write_text(told)
    else:
        assert told == text


def test_every_rule_has_a_scenario() -> None:
    rules = {path.stem.split("_")[0] for path in SCENARIOS}
    assert {f"{number:02}" for number in range(1, 11)} <= rules
