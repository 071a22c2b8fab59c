"""`sagakeep export`: tables of a real server, and the same of its directory."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime

import pytest
from click.testing import CliRunner
from demo_journal import fill, order
from pages import ROOT, section
from served import Server

from sagakeep.cli import main
from sagakeep.commands.export_table import TABLES
from sagakeep.offline.saga_listing import sagas_in

PAGE = (ROOT / "docs" / "export.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "data"
    fill(str(directory))
    server = Server(directory, "--demo")
    server.directory = str(directory)
    try:
        server.ready()
        server.post({**order("tagged"), "tags": {"customer": "c,7", "a": "b"}}, wait_s=20)
        slow = order("slow", ship_order={"action": "wait", "payload": {"seconds": 600}})
        server.post(slow)
        yield server
    finally:
        server.close()


@pytest.fixture
def export(server):
    def run(*args):
        environ = {"SAGAKEEP_URL": f"http://127.0.0.1:{server.port}"}
        result = CliRunner(env=environ).invoke(main, ["export", *args])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def by_id(rows):
    return {(row["saga_id"], row.get("step_id")): row for row in rows}


@pytest.mark.parametrize("table", TABLES)
def test_a_server_and_its_directory_give_the_same_rows(export, server, table):
    served = objects(export(table, "--format", "jsonl", "--status", "completed"))
    read = objects(
        export(table, "--format", "jsonl", "--status", "completed", "--data", server.directory)
    )
    assert by_id(served) == by_id(read)
    assert len(read) == len(served) == len(by_id(read)) == {"sagas": 2, "steps": 6}[table]


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_has_the_type_of_its_column(export, server, table):
    types = {"text": str, "integer": int, "number": float, "time": str}
    seen = {column.name: set() for column in TABLES[table]}
    for row in objects(export(table, "--format", "jsonl")):
        assert list(row) == [column.name for column in TABLES[table]]
        for column in TABLES[table]:
            value = row[column.name]
            seen[column.name].add(value is None)
            if value is None:
                assert column.nullable, column
            else:
                assert type(value) is types[column.kind], (column, value)
            if column.kind == "time" and value is not None:
                assert datetime.fromisoformat(value).utcoffset().total_seconds() == 0
    assert seen["saga_id"] == {False}


@pytest.mark.parametrize("table", TABLES)
def test_csv_has_the_cells_of_the_json(export, table):
    lines = list(csv.reader(io.StringIO(export(table, "--name", "order_processing"))))
    assert lines[0] == [column.name for column in TABLES[table]]
    rows = objects(export(table, "--name", "order_processing", "--format", "jsonl"))
    told = [["" if value is None else str(value) for value in row.values()] for row in rows]
    assert lines[1:] == told
    assert len(lines) > 4


def test_what_is_undone_and_what_is_under_way_are_told(export, server):
    sagas = by_id(objects(export("sagas", "--format", "jsonl")))
    undone, slow, tagged = (sagas[one, None] for one in ("undone", "slow", "tagged"))
    assert (undone["status"], undone["steps"], undone["steps_failed"]) == ("compensated", 3, 1)
    assert undone["duration_s"] > 0
    assert "ship" in undone["error"]
    assert (slow["status"], slow["duration_s"]) == ("running", None)
    assert json.loads(tagged["tags"]) == {"customer": "c,7", "a": "b"}
    assert ("deleted", None) not in sagas
    assert "deleted" not in {saga["id"] for saga in sagas_in(server.directory)}


@pytest.mark.parametrize("offline", [False, True])
def test_filters_are_the_same_with_and_without_a_server(export, server, offline):
    where = ["--data", server.directory] if offline else []

    def ids(*args):
        rows = csv.DictReader(io.StringIO(export("sagas", *where, *args)))
        return {row["saga_id"] for row in rows}

    assert ids("--tag", "customer=c,7") == {"tagged"}
    assert ids("--tag", "customer=c,8") == set()
    assert ids("--name", "nobody") == set()
    assert "undone" in ids("--status", "compensated")
    assert "tagged" in ids("--since", "1h")
    assert ids("--since", "2100-01-01T00:00:00Z") == set()


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_told_for_a_directory(server, since):
    args = ["export", "sagas", "--data", server.directory, "--since", since]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, "is no time; expected one such as" in result.stderr) == (2, True)


def test_a_directory_without_a_journal_is_told_before_any_row(tmp_path):
    result = CliRunner().invoke(
        main, ["export", "sagas", "--data", str(tmp_path), "--format", "jsonl"]
    )
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_every_column_and_its_type(table):
    told = re.findall(r"^\| `(\w+)` \| (\w+)(, nullable)? \|", section(PAGE, table), re.MULTILINE)
    assert told == [
        (column.name, column.kind, ", nullable" if column.nullable else "")
        for column in TABLES[table]
    ]
