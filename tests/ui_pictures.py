"""Pictures of the dashboard. PYTHONPATH=tests python -m ui_pictures [DIRECTORY]

Into docs/ui go the few that the pages show; with a DIRECTORY every page goes there, light and dark, wide and
narrow, to be looked at.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ui_sagas as sagas
from chromium import NARROW, WIDE, open_browser
from served import Server

DOCS = Path(__file__).parent.parent / "docs" / "ui"
PLACES = {
    "overview": "/ui",
    "sagas": "/ui/sagas",
    "nothing": "/ui/sagas?name=nobody",
    "saga": "/ui/sagas/order-1007",
    "undone": "/ui/sagas/order-1008",
    "trip": "/ui/sagas/trip-1?tab=definition",
    "past": "/ui/sagas/order-1008?at=6",
    "timeline": "/ui/sagas/order-1010?tab=timeline",
    "plan": "/ui/sagas/order-1009?tab=undo",
    "services": "/ui/services",
    "new": "/ui/new",
    "analytics": "/ui/analytics",
    "system": "/ui/system",
}
SHOWN = ("overview light", "saga light", "saga dark", "sagas light", "new light", "analytics dark")
SETTLES_S = 45.0  # for the charts of the overview to have something to show


def fill(server):
    """A shop with a history, and load while the pictures are taken."""
    for number in range(900, 1007):
        server.post(
            sagas.undone(f"order-{number}") if number % 9 == 0 else sagas.order(f"order-{number}")
        )
    named = {
        "order-1007": sagas.stuck,
        "order-1008": sagas.undone,
        "order-1009": sagas.held,
        "order-1010": sagas.flaky,
        "trip-1": sagas.trip,
    }
    for saga_id, kind in named.items():
        server.post(kind(saga_id), wait_s=10)
    server.post(sagas.slow("order-1011"))


def run_a_while(server, page, seconds):
    """Orders come in waves, so that the charts have shapes."""
    until_s, number = time.monotonic() + seconds, 2000
    while time.monotonic() < until_s:
        for _ in range(3 + number % 7):
            number += 1
            kind = sagas.undone if number % 6 == 0 else sagas.order
            server.post(kind(f"order-{number}"))
        page.wait_for_timeout(350)


def settled(page):
    page.locator("h1").first.wait_for()
    page.locator(".loading").first.wait_for(state="detached")
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(600)


def take(browser, server, directory, seconds, wanted):
    for scheme in ("light", "dark"):
        for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
            if wanted and not (size == "wide" and any(one.endswith(scheme) for one in wanted)):
                continue
            context = browser.new_context(
                viewport=viewport, color_scheme=scheme, reduced_motion="reduce"
            )
            page = context.new_page()
            page.on("console", lambda message: print(message.type, message.text))
            page.on("pageerror", lambda error: print("error", error))
            page.goto(f"http://127.0.0.1:{server.port}/ui")
            run_a_while(server, page, seconds)
            for name, path in PLACES.items():
                if wanted and f"{name} {scheme}" not in wanted:
                    continue
                if name != "overview":  # which is open, and has seen something
                    page.goto(f"http://127.0.0.1:{server.port}{path}")
                settled(page)
                file = f"{name}-{scheme}.png" if wanted else f"{name}-{scheme}-{size}.png"
                page.screenshot(path=str(directory / file), full_page=not wanted)
                if wanted:
                    command = ["pngquant", "--force", "--skip-if-larger", "--ext", ".png", "256"]
                    subprocess.run([*command, str(directory / file)], check=True)
                print(directory / file)
            context.close()


def main(arguments):
    directory = Path(arguments[0]) if arguments else DOCS
    directory.mkdir(parents=True, exist_ok=True)
    wanted = () if arguments else SHOWN
    with tempfile.TemporaryDirectory() as home, open_browser() as browser:
        server = Server(f"{home}/shop", "--demo")
        server.ready()
        fill(server)
        take(browser, server, directory, SETTLES_S if wanted else 8, wanted)
        server.close()


if __name__ == "__main__":
    main(sys.argv[1:])
