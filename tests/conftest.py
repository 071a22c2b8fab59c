"""What all tests share: how hypothesis draws, and `--rewrite` for what is kept as text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from postgres import open_postgres, reason_for_none

# The same examples on every run, so that a red build is red for its change; `HYPOTHESIS_PROFILE=search`
# looks for new ones and prints how to repeat what it finds.
settings.register_profile("repeat", derandomize=True, deadline=None, database=None)
settings.register_profile("search", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the golden traces and generated pages anew instead of comparing; then read the diff",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Tell whether expected text is to be written instead of compared."""
    return bool(request.config.getoption("--rewrite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A server for all who want one; each call makes a database of its own, and returns how to connect."""
    psycopg = pytest.importorskip("psycopg")
    if reason_for_none():
        pytest.skip(reason_for_none())
    count = 0
    with open_postgres() as server, psycopg.connect(f"{server} dbname=postgres") as db:
        db.autocommit = True

        def new_database() -> str:
            nonlocal count
            count += 1
            db.execute(f"CREATE DATABASE d{count}")
            return f"{server} dbname=d{count}"

        yield new_database
