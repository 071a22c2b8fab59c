"""The pages say what the code does: links lead somewhere, tables are complete, nothing is left open."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from http import HTTPStatus
from typing import get_args

import msgspec
import pytest
from pages import ROOT, anchors, blocks, links, pages, prose

from sagakeep import orchestrator
from sagakeep.faults import Faults
from sagakeep.http.problems import KINDS, document_of, problem_document
from sagakeep.http.routes import ROUTES
from sagakeep.settings.config import Config
from sagakeep.settings.environ import read_environ
from sagakeep.settings.sources import load_config

PAGES = pages()
ids = [str(page.relative_to(ROOT)) for page in PAGES]
DECISIONS = ROOT / "docs" / "decisions"
GUIDE, PROBLEMS, CONFIGURATION = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("guide", "problems", "configuration")
)


# Links and leftovers


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page):
    text = page.read_text()
    for target in links(text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{target}: no such section"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_nothing_is_left_to_be_filled_in(page):
    leftovers = re.findall(
        r"\bTODO\b|\bTBD\b|\bFIXME\b|\bXXX\b|lorem ipsum|coming soon|\{\{|<[A-Z_]{3,}>",
        page.read_text(),
        re.IGNORECASE,
    )
    assert not leftovers


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_nobody_claims_what_cannot_be(page):
    """A call is made at least once, under a stable key; more than that needs the service."""
    assert not re.search(r"exactly[ -]once", page.read_text(), re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_file_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:sagakeep|tests|docs|bench)/[\w./-]+\.\w+)`", page.read_text())
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_page_is_reachable_from_the_readme():
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found:
            continue
        found.add(page)
        targets = [target.partition("#")[0] for target in links(page.read_text())]
        inner = [target for target in targets if target and "://" not in target]
        waiting += [(page.parent / one).resolve() for one in inner if one.endswith(".md")]
    assert not set(PAGES) - found


# Decisions


def test_every_decision_is_listed_under_its_title():
    listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \|", _decisions_page(), re.MULTILINE)
    there = []
    for path in sorted(DECISIONS.glob("0*.md")):
        number, title = re.match(r"# (\d{4}) (.+)", path.read_text()).groups()
        assert path.name.startswith(f"{number}-")
        there.append((number, path.name, title))
    assert listed == there


def _decisions_page():
    return (DECISIONS / "README.md").read_text()


# Problems


def test_every_problem_has_its_section():
    types = {f"{_anchor(kind.title)}" for kind in KINDS.values()}
    types |= {_anchor(title) for title in _plain_titles()}
    types.add(_anchor("Internal error"))
    assert types <= anchors(PROBLEMS)
    headings = {_anchor_of_page(one) for one in re.findall(r"^## (.+)$", PROBLEMS, re.MULTILINE)}
    assert not {one for one in headings - types if one not in _PHRASES_OF_OTHER_VERSIONS}


_PHRASES_OF_OTHER_VERSIONS = {"request-entity-too-large", "request-uri-too-long"}  # until 3.12


def test_each_section_begins_with_its_status():
    for kind in KINDS.values():
        section = re.search(rf"^## {kind.title}\n\n(\d+)", PROBLEMS, re.MULTILINE)
        assert section, kind.title
        assert int(section[1]) == kind.status


def test_the_example_of_a_problem_is_one():
    from sagakeep.errors import MoveRefused

    (example,) = re.findall(r'^    (\{"type".*?\})$', PROBLEMS, re.MULTILINE | re.DOTALL)
    error = MoveRefused(
        "order-1042", "completed", "retry", "it is completed", ("compensate", "rerun", "delete")
    )
    assert json.loads(example) == document_of(error, "/api/sagas/order-1042/retry")


def _anchor(title):
    return problem_document(0, title, "")["type"].rpartition("#")[2]


def _anchor_of_page(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _plain_titles():
    """Every title that the HTTP layer answers with and that has no error of ours behind it."""
    found = {HTTPStatus(404).phrase, HTTPStatus(405).phrase}
    for path in (ROOT / "sagakeep" / "http").glob("*.py"):
        if path.name in ("caller.py", "problems.py", "schema.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="problem"),
                    args=[ast.Constant(int()), ast.Constant(str(title)), *_],
                ):
                    found.add(title)
                case ast.Call(
                    func=ast.Name(id="HTTPException"), args=[ast.Constant(int(status)), *_]
                ):
                    found.add(HTTPStatus(status).phrase)
                case (
                    ast.Call(
                        func=ast.Name(id="Refusal" | "BodyRefused"),
                        args=[ast.Attribute(attr=name), *_],
                    )
                    | ast.Call(func=ast.Name(id="_turn_away"), args=[_, ast.Attribute(attr=name)])
                ):
                    found.add(HTTPStatus[name].phrase)
    return found


# Configuration


def test_every_setting_is_told_with_its_default():
    told = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.+?) \|", CONFIGURATION, re.MULTILINE))
    assert told == dict(_settings(Config))


def _settings(kind, prefix=""):
    for field in msgspec.structs.fields(kind):
        key = f"{prefix}{field.encode_name}"
        inner = _struct_in(field.type)
        if inner is None or field.type is not inner:
            default = _default(field)
            if default != "`{}`" or inner is None:  # [services] itself is told by its tables
                yield key, default
        if inner is not None:
            yield from _settings(inner, _prefix(key, field.type))


def _struct_in(kind):
    forms = [kind, *get_args(kind)]
    return next((f for f in forms if isinstance(f, type) and issubclass(f, msgspec.Struct)), None)


def _prefix(key, kind):
    match str(kind).partition("[")[0]:
        case "dict":
            return f"{key}.NAME."
        case "tuple":
            return f"{key}[]."
        case _:
            return f"{key}."


def _default(field):
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{json.dumps(field.default_factory())}`"
    if field.default is msgspec.NODEFAULT:
        return "required"
    return f"`{json.dumps(field.default)}`"


def test_the_example_of_a_configuration_is_one(tmp_path):
    (example,) = blocks(CONFIGURATION, "toml")
    path = tmp_path / "sagakeep.toml"
    path.write_text(example.text)
    config = load_config(str(path), {}, {})
    assert set(config.services) == set(tomllib.loads(example.text)["services"])


def test_every_variable_that_a_page_names_means_something():
    for page in PAGES:
        for name in re.findall(r"`(SAGAKEEP_\w+?)(?:=[^`]*)?`", page.read_text()):
            if name not in ("SAGAKEEP_", "SAGAKEEP_CONFIG"):
                faults = Faults()
                list(read_environ({name: "1"}, {}, faults))
                faults.raise_any()


# The guide and the API


def test_the_guide_names_every_field_of_a_saga():
    from sagakeep.definition import RetryPolicy, SagaDefinition, Step

    fields = re.search(r"### The fields\n(.*?)\n## ", GUIDE, re.DOTALL)[1]
    for kind in (SagaDefinition, Step, RetryPolicy):
        for field in msgspec.structs.fields(kind):
            assert f"`{field.encode_name}`" in fields, field.encode_name


def test_the_pages_name_routes_that_exist():
    patterns = [
        (route.method, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.path))))
        for route in ROUTES
    ]
    for page in PAGES:
        for method, path in re.findall(
            r"`(GET|PUT|POST|DELETE) (/(?:api|openapi)[^`\s?]*)", page.read_text()
        ):
            assert any(method == m and pattern.fullmatch(path) for m, pattern in patterns), (
                page,
                path,
            )


def test_the_api_page_names_every_public_method():
    text = (ROOT / "docs" / "api.md").read_text()
    names = [name for name in vars(orchestrator.Orchestrator) if not name.startswith("_")]
    of_the_process = {"run", "drain", "close", "wait_recovered", "stopping", "recovery", "report"}
    missing = {name for name in names if name not in of_the_process and f"`{name}" not in text}
    missing -= {name for name in missing if re.search(rf"`[^`]*\b{name}\(|sagas\.{name}\b", text)}
    assert not missing


def test_prose_is_found():
    assert "[x](y)" not in prose("a `[x](y)` b\n\n    [x](y)\n")
