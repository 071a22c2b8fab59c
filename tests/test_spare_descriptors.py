"""Descriptors that are kept for the journal: one can be opened when there is no other, and none leaks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from few_descriptors import no_descriptors

from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.spare_descriptors import COUNT, SpareDescriptors


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def spares():
    descriptors = SpareDescriptors()
    descriptors.fill()
    yield descriptors
    descriptors.drop()


def test_as_many_files_can_be_opened_as_are_spared(spares):
    files = []
    with no_descriptors():
        for _ in range(COUNT):
            files.append(spares.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files") as caught:
            spares.open(os.devnull, os.O_RDONLY)
        assert caught.value.errno == errno.EMFILE
        for fd in files:
            spares.close(fd)
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        spares.close(spares.open(os.devnull, os.O_RDONLY))


def test_what_is_closed_is_closed_when_nothing_is_missing(spares):
    before = opened()
    spares.close(spares.open(os.devnull, os.O_RDONLY))
    assert opened() == before


def test_a_file_that_is_not_there_costs_no_spare(spares, tmp_path):
    before = opened()
    with pytest.raises(FileNotFoundError):
        spares.open(str(tmp_path / "absent"), os.O_RDONLY)
    assert opened() == before


def test_without_any_descriptor_there_are_no_spares():
    spares = SpareDescriptors()
    with no_descriptors():
        spares.fill()
    spares.drop()
    spares.drop()


def test_any_other_trouble_with_the_spares_is_told(monkeypatch):
    monkeypatch.setattr(os, "devnull", "/nowhere/null")
    with pytest.raises(FileNotFoundError):
        SpareDescriptors().fill()


def test_only_who_holds_a_lock_has_spares(tmp_path: Path):
    before = opened()
    disk = LocalDisk()
    lock = disk.lock(str(tmp_path / "LOCK"))
    assert opened() == before + 1 + COUNT + 1
    lock.release()
    lock.release()
    assert opened() == before
