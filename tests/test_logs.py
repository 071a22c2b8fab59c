from __future__ import annotations

import ast
import io
import json
import logging
import sys

import pytest
from pages import ROOT

from sagakeep.logs import configure_logs
from sagakeep.settings.config import LogConfig, LogFormat, LogLevel

HOSTILE = "a\r\nb\tc\x1b[31m\x9b\u2028\x7f d"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def root():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield root
    root.handlers, root.level = handlers, level


def logged(root, stream, write, **config):
    configure_logs(LogConfig(**config), stream)
    write(logging.getLogger("sagakeep.x"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        (LogFormat.AUTO, Terminal(), False),
        (LogFormat.AUTO, io.StringIO(), True),
        (LogFormat.JSON, Terminal(), True),
        (LogFormat.TEXT, io.StringIO(), False),
    ],
)
def test_a_terminal_gets_text_and_a_pipe_json_unless_told_otherwise(
    root, log_format, stream, is_json
):
    line = logged(root, stream, lambda log: log.warning("%d sagas", 3), format=log_format)
    assert line.startswith("{") is is_json
    if is_json:
        record = json.loads(line)
        assert record.pop("time").endswith("Z")
        assert record == {"level": "warning", "logger": "sagakeep.x", "message": "3 sagas"}
    else:
        assert line.endswith("Z WARNING sagakeep.x: 3 sagas\n")


@pytest.mark.parametrize("log_format", [LogFormat.TEXT, LogFormat.JSON])
def test_a_record_is_one_line_whatever_is_in_it(root, log_format):
    line = logged(root, io.StringIO(), lambda log: log.error(HOSTILE), format=log_format)
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    if log_format is LogFormat.JSON:
        assert json.loads(line)["message"] == HOSTILE
    else:
        assert r"a\r\nb\tc\x1b[31m\x9b\u2028\x7f d" in line


def test_a_trace_is_behind_bars_in_text(root):
    def write(log):
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("failed")

    first, *rest = logged(root, io.StringIO(), write, format=LogFormat.TEXT).splitlines()
    assert first.endswith("sagakeep.x: failed")
    assert rest
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)


def test_a_trace_is_a_member_in_json(root):
    def write(log):
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("failed")

    record = json.loads(logged(root, io.StringIO(), write, format=LogFormat.JSON))
    assert "ValueError: broken" in record["trace"]


def test_an_error_without_an_exception_has_no_trace(root):
    stream = io.StringIO()
    record = json.loads(logged(root, stream, lambda log: log.error("x", exc_info=True)))
    assert "trace" not in record


def test_what_is_below_the_level_is_not_written(root):
    stream = io.StringIO()
    assert logged(root, stream, lambda log: log.info("x"), level=LogLevel.WARNING) == ""


def test_standard_error_is_where_it_goes(root, capsys):
    configure_logs(LogConfig())
    assert root.handlers[0].stream is sys.stderr


def test_a_line_in_json_has_what_it_is_about_as_fields(root):
    about = {"saga": "s-1", "step": "pay", "service": "bank", "attempt": 2, "traceId": "4bf9"}

    def write(log):
        log.error("failed", extra=about | {"other": "is not told"})

    record = json.loads(logged(root, io.StringIO(), write, format=LogFormat.JSON))
    assert record.pop("time")
    assert record == {"level": "error", "logger": "sagakeep.x", "message": "failed"} | about


def test_a_field_that_is_not_known_is_not_there(root):
    def write(log):
        log.error("failed", extra={"saga": "s-1", "traceId": ""})

    record = json.loads(logged(root, io.StringIO(), write, format=LogFormat.JSON))
    assert record["saga"] == "s-1"
    assert "traceId" not in record


def _lines_about_sagas():
    """Every call of a logger whose words name a saga."""
    for path in sorted((ROOT / "sagakeep").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log.")):
                continue
            words = ast.unparse(node.args[0])
            if "saga %s" in words or "attempt raised" in words or "event %s of" in words:
                yield f"{path.name}:{node.lineno}", node


def test_every_line_that_names_a_saga_has_it_as_a_field():
    found = dict(_lines_about_sagas())
    assert len(found) >= 8
    bare = [where for where, node in found.items() if "extra" not in {k.arg for k in node.keywords}]
    assert not bare
