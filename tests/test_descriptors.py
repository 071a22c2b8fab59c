"""Clients may take as many descriptors as are left beside our own and those of calls."""

from __future__ import annotations

import resource

import pytest

from sagakeep import descriptors
from sagakeep.config import ServiceConfig
from sagakeep.descriptors import OWN, connections_within, open_as_many_as_allowed

HTTP = ServiceConfig(url="http://127.0.0.1:1", concurrency_max=100)
PYTHON = ServiceConfig(python="shop:service", concurrency_max=100)


@pytest.mark.parametrize(
    ("descriptors", "services", "room"),
    [
        (1_000 + OWN, {}, 1_000),
        (1_000 + OWN, {"a": PYTHON}, 1_000),
        (1_100 + OWN, {"a": HTTP}, 1_000),
        (1_099 + OWN, {"a": HTTP}, 999),
        (1_099 + OWN, {"a": HTTP, "b": HTTP}, 899),
        (64, {"a": HTTP}, 16),
        (3, {}, 1),
    ],
)
def test_connections_get_what_is_left_and_a_quarter_at_least(descriptors, services, room, caplog):
    assert connections_within(descriptors, 1_000, services) == room
    assert ("ulimit -n" in caplog.text) == (room < 1_000)


def test_the_bound_of_the_process_is_raised_to_that_of_the_machine():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    try:
        assert open_as_many_as_allowed() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert open_as_many_as_allowed() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_bound_that_may_not_be_raised_stays(monkeypatch):
    def refuse(_what, _bounds):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _what: (64, 128))
    monkeypatch.setattr(descriptors.resource, "setrlimit", refuse)
    assert open_as_many_as_allowed() == 64
