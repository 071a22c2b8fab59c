"""The log, on standard error: lines of text for a terminal, JSON objects otherwise.

One record is one line, whatever is in it: a control character, which could forge a line or speak to the
terminal, is written as its escape. Only the trace of a bug has several lines in text, each behind a bar.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final, TextIO

from sagakeep.settings.config import LogConfig, LogFormat

FIELDS: Final = (
    "saga",
    "step",
    "service",
    "attempt",
    "traceId",
)  # of `extra`, what a line is about

_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def configure_logs(config: LogConfig, stream: TextIO | None = None) -> None:
    """Send all logs to `stream`, standard error by default."""
    stream = stream or sys.stderr
    is_text = config.format is LogFormat.TEXT
    if config.format is LogFormat.AUTO:
        is_text = stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if is_text else JsonFormatter())
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)


def escaped(text: str) -> str:
    """Write control characters as escapes."""
    return text.translate(_ESCAPES)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING sagakeep.x: message`"""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        trace = _trace(self, record).splitlines()
        return "\n".join([escaped(line), *(f"  | {escaped(one)}" for one in trace)])


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, the FIELDS that the record has, and `trace` when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: record.__dict__[name] for name in FIELDS if record.__dict__.get(name)}
        if trace := _trace(self, record):
            line["trace"] = trace
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return formatter.formatException(record.exc_info)
    return ""
