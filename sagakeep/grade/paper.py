"""The report as it is printed: a table for people, with what to mend below it; or one JSON document."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sagakeep.grade.exam import Finding, Report, Verdict
from sagakeep.logs import escaped

WIDTH: Final = 110  # where there is no terminal

_COLOURS: Final = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.BLOCKED: "yellow",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.NOT_RUN: "yellow",
}


def print_report(report: Report) -> None:
    """Print it for people."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("CHECK", "SENT", "CAME", ""):
        table.add_column(title)
    for finding in report.findings:
        asked = [one for one in finding.exchanges if one.kinds]
        table.add_row(
            finding.check.code,
            _counted([one.sent for one in asked]),
            _counted([one.kinds for one in asked]),
            Text(finding.verdict, _COLOURS[finding.verdict]),
        )
    console.print(table)
    for finding in report.findings:
        if finding.verdict is Verdict.FAILED:
            console.print(_advice(finding), soft_wrap=True)
    console.print(Text(f"\n{_summary(report)}"), soft_wrap=True)


def print_json(report: Report) -> None:
    """Print it for programs."""
    document = {
        "url": report.url,
        "grade": report.grade,
        "requests": report.requests,
        "elapsedSeconds": round(report.elapsed_s, 3),
        "ledger": report.has_ledger,
        "checks": [_document(finding) for finding in report.findings],
    }
    print(json.dumps(document, ensure_ascii=True, indent=2))


def _document(finding: Finding) -> dict[str, object]:
    check = finding.check
    return {
        "code": check.code,
        "title": check.title,
        "verdict": finding.verdict,
        "severity": finding.severity,
        "reason": finding.reason,
        "exchanges": [
            {"sent": exchange.sent, "came": exchange.came} for exchange in finding.exchanges
        ],
        "why": check.why,
        "mend": check.mend,
    }


def _advice(finding: Finding) -> Text:
    check = finding.check
    text = Text(f"\n{check.code}: ", "bold")
    text.append(f"{check.title} ({finding.severity})\n", "not bold")
    for name, words in (("came", finding.reason), ("why", check.why), ("mend", check.mend)):
        text.append(f"  {name:5} ", "not bold dim")
        text.append(f"{escaped(words)}\n", "not bold")
    text.right_crop(1)
    return text


def _summary(report: Report) -> str:
    counts = [f"{report.count(verdict)} {verdict}" for verdict in Verdict if report.count(verdict)]
    told = "" if report.has_ledger else "; without a ledger only the answers were compared"
    return f"grade {report.grade}: {', '.join(counts)}; {report.requests} requests{told}"


def _counted(words: list[str]) -> str:
    """Join them, with a number for one that is repeated."""
    runs = [(word, len(list(run))) for word, run in groupby(words)]
    return ", ".join(word if count == 1 else f"{word} x{count}" for word, count in runs)
