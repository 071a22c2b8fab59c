from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sagakeep.actors.memory import Memory
from sagakeep.runtime import resident
from sagakeep.runtime.resident import available_bytes, resident_bytes


def test_there_is_room_below_the_bound_and_none_at_it() -> None:
    size = 99
    memory = Memory(lambda: size, 100)
    memory.look(10)
    assert memory.has_room
    size = 100
    memory.look(10)
    assert not memory.has_room


def test_a_process_that_does_not_shrink_has_room_when_a_quarter_of_its_sagas_has_gone() -> None:
    memory = Memory(lambda: 100, 100)
    for live, has_room in ((1_000, False), (750, False), (749, True), (900, False), (100, True)):
        memory.look(live)
        assert memory.has_room is has_room, live


def test_a_process_that_has_shrunk_starts_anew() -> None:
    size = 100
    memory = Memory(lambda: size, 100)
    memory.look(1_000)
    size = 50
    memory.look(1_000)
    size = 100
    memory.look(100)
    assert not memory.has_room


def test_a_bound_below_an_empty_process_lets_nothing_in() -> None:
    memory = Memory(lambda: 300 << 20, 100 << 20)
    memory.look(0)
    assert not memory.has_room
    assert str(memory) == "300 of 100 MiB of memory"


def test_the_system_says_how_much_memory_there_is_and_how_much_is_used() -> None:
    assert 10 << 20 < resident_bytes() < available_bytes()


def test_where_nothing_is_known_nothing_is_refused(tmp_path: Path) -> None:
    assert resident_bytes(str(tmp_path / "none")) == 0
    (tmp_path / "statm").write_text("odd")
    assert resident_bytes(str(tmp_path / "statm")) == 0


def test_a_container_bounds_what_there_is(tmp_path: Path) -> None:
    ours, endless, none = (str(tmp_path / name) for name in ("ours", "endless", "none"))
    Path(ours).write_text("1048576\n")
    Path(endless).write_text("max\n")
    assert available_bytes((endless, ours, none)) == 1 << 20
    assert available_bytes((endless, none)) > 1 << 20


_LEAVES_HOLES = """
from sagakeep.runtime.resident import give_large_blocks_back, resident_bytes
{first}
bytearray(24 << 20)  # after it the allocator keeps the room of what is smaller
before, small = resident_bytes(), []
for _ in range(4):
    large = bytearray(12 << 20)
    small.append(bytearray(100 << 10))
    del large
print(resident_bytes() - before)
"""


@pytest.mark.parametrize(
    ("first", "is_given_back"), [("", False), ("give_large_blocks_back()", True)]
)
def test_large_blocks_go_back_to_the_system(first: str, is_given_back: bool) -> None:
    script = _LEAVES_HOLES.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) < 6 << 20) is is_given_back


def test_another_libc_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident.ctypes, "CDLL", lambda _name: object())
    resident.give_large_blocks_back()
