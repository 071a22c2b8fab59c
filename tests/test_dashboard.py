"""The dashboard's files are served whole, safely and to everybody; what they do in a browser is in test_ui."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import cast

import pytest
from asgi_client import AsgiClient
from fake_orchestrator import FakeOrchestrator
from shop import saga, step

from sagakeep.http.app import make_app
from sagakeep.http.auth import ApiKey, Role, new_key
from sagakeep.http.dashboard import read_files
from sagakeep.http.edge import edge
from sagakeep.orchestrator import Orchestrator

ROOT = Path(__file__).parent.parent
UI = ROOT / "sagakeep" / "ui"
SHIPPED = sorted(str(path.relative_to(UI)) for path in UI.rglob("*") if path.is_file())
VIEWER, VIEWER_SHA256 = new_key(Role.VIEWER)


def app_of(keys: list[ApiKey]) -> AsgiClient:
    fake = FakeOrchestrator(saga(step("a")))
    return AsgiClient(edge(make_app(cast(Orchestrator, fake)), keys=keys))


@pytest.fixture
def api() -> AsgiClient:
    return app_of([])


@pytest.fixture
def keyed() -> AsgiClient:
    return app_of([ApiKey("board", VIEWER_SHA256, Role.VIEWER)])


def links_of(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/sagas", "/ui/sagas/order-1", "/ui/new"])
async def test_every_address_of_the_dashboard_is_the_one_page(api: AsgiClient, path: str) -> None:
    reply = await api.request("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["cache-control"] == "no-cache"
    assert b'<div id="app">' in reply.body


async def test_whoever_comes_to_the_server_is_led_to_the_dashboard(api: AsgiClient) -> None:
    reply = await api.request("GET", "/")
    assert (reply.status, reply.headers["location"]) == (307, "/ui")


async def test_every_part_that_the_page_names_is_there_and_may_be_kept_for_ever(
    api: AsgiClient,
) -> None:
    links = links_of((await api.request("GET", "/ui")).body.decode())
    assert links
    for link in links:
        reply = await api.request("GET", link)
        assert reply.status == 200, link
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_every_import_leads_to_a_file_that_is_shipped() -> None:
    for name in SHIPPED:
        if not name.endswith(".js"):
            continue
        text = (UI / name).read_text()
        for target in re.findall(r'(?:\bfrom\s*|\bimport\s*)"([^"]+)"', text):
            assert target.startswith("."), f"{name} imports {target}, which no browser finds"
            assert (UI / name).parent.joinpath(target).resolve().is_file(), (name, target)


async def test_a_browser_that_has_a_file_is_not_sent_it_again(api: AsgiClient) -> None:
    for path in ["/ui", links_of((await api.request("GET", "/ui")).body.decode())[0]]:
        first = await api.request("GET", path)
        again = await api.request("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        other = await api.request("GET", path, headers={"If-None-Match": '"x"'})
        assert (other.status, other.body) == (200, first.body)


@pytest.mark.parametrize(
    "path",
    [
        "/ui/static/",
        "/ui/static/x/app.js",
        "/ui/static/../../limits.py",
        "/ui/static/%2e%2e/%2e%2e/limits.py",
        "/ui/static/VERSION/../../../limits.py",
        "/ui/static/VERSION/..%2f..%2f..%2flimits.py",
        "/ui/static/VERSION//etc/passwd",
        "/ui/static/VERSION/vendor",
        "/ui/static/VERSION/index.html",
    ],
)
async def test_no_path_leads_out_of_the_files(api: AsgiClient, path: str) -> None:
    page = (await api.request("GET", "/ui")).body.decode()
    version = links_of(page)[0].split("/")[3]
    reply = await api.request("GET", path.replace("VERSION", version))
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/ui", "/ui/static/VERSION/app.js"])
async def test_the_page_and_its_parts_may_load_nothing_from_elsewhere(
    api: AsgiClient, path: str
) -> None:
    version = links_of((await api.request("GET", "/ui")).body.decode())[0].split("/")[3]
    headers = (await api.request("GET", path.replace("VERSION", version))).headers
    policy = dict(
        one.split(" ", 1) for one in headers["content-security-policy"].split("; ") if " " in one
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "font", "img", "connect")} == {
        "'self'"
    }
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_the_dashboard_can_only_be_read(api: AsgiClient) -> None:
    for path in ("/", "/ui", "/ui/static/x"):
        reply = await api.request("POST", path)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_the_files_are_served_without_a_key_and_the_api_is_not(keyed: AsgiClient) -> None:
    page = await keyed.request("GET", "/ui")
    assert page.status == 200
    for link in links_of(page.body.decode()):
        assert (await keyed.request("GET", link)).status == 200
    assert (await keyed.request("GET", "/api/whoami")).status == 401
    assert (await keyed.request("GET", "/uiapi")).status == 401
    assert (await keyed.request("POST", "/ui")).status == 401


async def test_who_asks_is_told_what_it_may_do(api: AsgiClient, keyed: AsgiClient) -> None:
    here = (await api.request("GET", "/api/whoami")).json
    assert here == {"name": "local", "role": "admin", "isKeyed": False}
    headers = {"Authorization": f"Bearer {VIEWER}"}
    there = (await keyed.request("GET", "/api/whoami", headers=headers)).json
    assert there == {"name": "board", "role": "viewer", "isKeyed": True}


def test_the_version_is_of_what_is_in_the_files() -> None:
    files = read_files()
    versions = {path.split("/")[0] for path in files.parts}
    assert len(versions) == 1
    assert re.fullmatch("[0-9a-f]{16}", versions.pop())
    served = {path.partition("/")[2] for path in files.parts}
    assert served == {name for name in SHIPPED if not name.endswith((".html", ".md"))}


def test_nothing_in_the_pages_writes_html_or_needs_another_host() -> None:
    for name in SHIPPED:
        if name.startswith("vendor/") or not name.endswith((".js", ".html", ".css")):
            continue
        text = (UI / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), name
        assert not re.search(r"\beval\(|new Function|\bimport\(", text), name
        hosts = set(re.findall(r"https?://([\w.-]+)", text))
        assert not hosts, f"{name} names {hosts}"
    page = (UI / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


def test_what_others_wrote_is_as_its_note_says() -> None:
    """Version, licence and digest of each vendored file stand in its table."""
    note = (UI / "vendor" / "README.md").read_text()
    rows = re.findall(
        r"^\| `([\w.]+)` \|.*\| `([\w.]+)` \| `([0-9a-f]{64})` \|$", note, re.MULTILINE
    )
    known = {name: digest for name, _, digest in rows}
    licences = {licence for _, licence, _ in rows}
    files = {path.name for path in (UI / "vendor").iterdir()} - {"README.md"}
    assert files == known.keys() | licences
    for name, digest in known.items():
        assert hashlib.sha256((UI / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_a_wheel_has_every_file_of_the_dashboard(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"sagakeep/ui/{name}" for name in SHIPPED} <= names
