"""The peers: what can be installed runs the same sagas, and what cannot says so in its row."""

from __future__ import annotations

import sys
import urllib.parse
from pathlib import Path

import psycopg
import pytest
import trio
from postgres import reason_for_none

from bench.benchmark import Scale, Silent
from bench.peers import table
from bench.peers.environment import (
    NotInstalled,
    cache_directory,
    python_of,
    restate_server_of,
)
from bench.peers.postgres import open_postgres
from bench.peers.table import PEERS, Peers

CACHE = cache_directory()
needs_cache = pytest.mark.skipif(
    not (CACHE / "venv" / "installed").exists(), reason="`python -m bench peers` has not run here"
)


async def absent(peers):
    raise NotInstalled("there is none")


def test_a_peer_that_cannot_be_had_is_a_row_that_says_why(monkeypatch):
    monkeypatch.setattr(table, "PEERS", {"here": PEERS["sagakeep"], "absent": absent})
    numbers = trio.run(table.measure, Scale(100), Silent())
    here, missing = numbers["rows"]
    assert here["sagas_per_second"] > 0
    assert missing == {"name": "absent", "why_not": "there is none"}


def test_sagakeep_does_the_same_over_http():
    assert trio.run(PEERS["sagakeep, HTTP"], Peers(100, Path("unused"))) > 0


def test_without_npm_there_is_no_restate(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match="npm is not installed"):
        restate_server_of(tmp_path / "cache")


def test_an_installation_that_fails_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotInstalled, match=r"/bin/false -m venv .* failed"):
        python_of(tmp_path / "cache")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(NotInstalled, match="No such file"):
        python_of(tmp_path / "cache")


@pytest.mark.skipif(bool(reason_for_none()), reason=reason_for_none())
def test_postgres_is_empty_durable_and_gone_afterwards():
    with open_postgres() as url:
        home = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["host"][0]
        with psycopg.connect(url) as connection:
            assert connection.execute("show fsync").fetchone() == ("on",)
            assert connection.execute("show listen_addresses").fetchone() == ("",)
            assert not connection.execute(
                "select 1 from information_schema.tables where table_schema = 'public'"
            ).fetchall()
    assert not Path(home).exists()


@needs_cache
def test_dbos_runs_them_on_sqlite():
    assert trio.run(PEERS["DBOS, SQLite"], Peers(20, CACHE)) > 0


@needs_cache
@pytest.mark.skipif(not list((CACHE / "npm").glob("node_modules/*")), reason="no Restate server")
def test_restate_runs_them():
    assert trio.run(PEERS["Restate, HTTP"], Peers(100, CACHE)) > 0
