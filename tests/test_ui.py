"""The dashboard in a real browser: Debian's Chromium looks at a real server with the demo services.

Every page that a test opens is watched: a request to another host, an error in the console and a violated policy
fail the test, whatever it is about.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from urllib.parse import urlsplit

import pytest
import ui_sagas as sagas
from chromium import NARROW, WIDE, Watch, open_browser, program
from served import Server

from sagakeep.http.auth import Role, new_key

MANY = 10_000
ROW_HEIGHT = 38
KEYS = {role: new_key(role) for role in (Role.VIEWER, Role.OPERATOR)}
STUCK = "order-1007"


@pytest.fixture(scope="module")
def browser():
    if not program():
        pytest.skip("Chromium is not installed: make ui-tools")
    with open_browser() as browser:
        yield browser


def started(directory, *args):
    server = Server(directory, "--demo", *args)
    server.ready()
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A shop: most orders go well, one is undone, one is held, one runs, and of one the undo failed."""
    server = started(tmp_path_factory.mktemp("ui") / "shop")
    for number in range(1000, 1007):
        server.post(sagas.order(f"order-{number}"), wait_s=10)
    for saga in (
        sagas.stuck(STUCK),
        sagas.undone("order-1008"),
        sagas.held("order-1009"),
        sagas.flaky("order-1010"),
        sagas.trip("trip-1"),
    ):
        server.post(saga, wait_s=10)
    server.post(sagas.slow("order-1011"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server that wants keys."""
    directory = tmp_path_factory.mktemp("ui") / "keyed"
    config = directory.with_suffix(".toml")
    lines = [
        f'[[auth.keys]]\nname = "{role}-key"\nsha256 = "{sha256}"\nrole = "{role}"\n'
        for role, (_, sha256) in KEYS.items()
    ]
    config.write_text("\n".join(lines))
    server = started(directory, "--config", str(config))
    key = {"Authorization": f"Bearer {KEYS[Role.OPERATOR][0]}"}
    server.call("POST", "/api/sagas", sagas.stuck("order-1"), Prefer="wait=10", **key)
    yield server
    server.close()


class Board:
    """A page of the dashboard, as a person uses it."""

    def __init__(self, page, server):
        self.page = page
        self.server = server
        self.origin = f"http://127.0.0.1:{server.port}"

    def go(self, path):
        self.page.goto(self.origin + path)
        return self

    def heading(self, text):
        self.page.get_by_role("heading", name=text, level=1).wait_for()
        return self

    def button(self, name, **more):
        return self.page.get_by_role("button", name=name, **more)

    def link(self, name, **more):
        return self.page.get_by_role("link", name=name, **more).first

    def see(self, text, **more):
        self.page.get_by_text(text, **more).first.wait_for()

    def wait_url(self, pattern):
        self.page.wait_for_url(re.compile(pattern))

    def status(self, saga_id):
        return self.server.call("GET", f"/api/sagas/{saga_id}/status")[1]["status"]


@contextlib.contextmanager
def opened(browser, server, **options):
    """A board in a context of its own, which may ask this server only and complain of nothing."""
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce", **options)
    context.set_default_timeout(15_000)
    watch = Watch(context)
    board = Board(context.new_page(), server)
    board.watch = watch
    yield board
    context.close()
    hosts = {urlsplit(url).netloc for url in watch.requests}
    assert hosts <= {f"127.0.0.1:{server.port}"}
    assert not watch.complaints


@pytest.fixture
def board(browser, server):
    with opened(browser, server) as board:
        yield board


# What it is for


def test_a_new_user_finds_why_a_saga_is_stuck_and_resolves_it(board):
    """With the dashboard alone, from the overview on: what waits, why, what can be done; then it is done."""
    board.go("/ui").heading("Overview")
    board.see("only a person can help now", exact=False)
    board.page.get_by_label("Alerts").get_by_role("link", name=STUCK).click()

    board.heading(STUCK)
    waits = board.page.get_by_role("region", name="What it waits for")
    waits.get_by_text("waits for an operator, at step 'process_payment'", exact=False).wait_for()
    board.see("payment.fail always refuses", exact=False)
    history = board.page.get_by_role("region", name="Events")
    history.get_by_text("Step 'process_payment' could not be undone", exact=False).first.wait_for()

    board.button("Resolve: process_payment · undone…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("refunded by hand, ticket 4711")
    dialog.get_by_label("Your name").fill("ada")
    dialog.get_by_role("button", name="Resolve", exact=True).click()

    board.page.locator(".head-status").get_by_text("undone").wait_for()
    history.get_by_text("was said to be undone by ada", exact=False).wait_for()
    history.get_by_text("refunded by hand, ticket 4711", exact=False).wait_for()
    board.page.get_by_role("region", name="It has ended").wait_for()
    assert board.status(STUCK) == "compensated"
    board.go("/ui").heading("Overview")
    waiting = board.page.get_by_role("region", name="Wait for a person")
    waiting.get_by_role("link", name="order-1009").wait_for()
    assert waiting.get_by_role("link", name=STUCK).count() == 0


def test_the_request_that_a_move_shows_does_what_its_button_does(board):
    board.server.post(sagas.held("by-curl"), wait_s=10)
    board.go("/ui/sagas/by-curl").heading("by-curl")
    board.button("Compensate…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("it's enough")
    dialog.get_by_text("The same without this page").click()
    curl = dialog.get_by_label("The request, for curl", exact=True).inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    done = subprocess.run(
        ["bash", "-c", f"{curl} --silent --fail"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    board.page.locator(".head-status").get_by_text("undone").wait_for()
    board.see("it's enough", exact=False)


def test_every_move_that_is_legal_has_a_button_and_the_others_say_why(board):
    for saga_id in ("order-1009", "order-1011", "order-1000"):
        moves = board.server.call("GET", f"/api/sagas/{saga_id}/explain")[1]["moves"]
        board.go(f"/ui/sagas/{saga_id}").heading(saga_id)
        board.page.locator("button.move").first.wait_for()
        legal = [move for move in moves if move["isLegal"]]
        assert board.page.locator("button.move").count() == len(legal)
        assert board.page.locator(".others dt").count() == len(moves) - len(legal)


def test_an_undo_is_planned_first_and_then_made_as_planned(board):
    board.server.post(sagas.held("planned"), wait_s=10)
    board.go("/ui/sagas/planned").heading("planned")
    board.button("Compensate…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Show the plan first").click()
    plan = dialog.get_by_role("region", name="Plan")
    plan.get_by_text("payment.refund").wait_for()
    calls = plan.locator(".plan li b").all_inner_texts()
    assert calls == ["payment.refund", "inventory.release"]
    dialog.get_by_role("button", name="Compensate", exact=True).click()
    board.page.locator(".head-status").get_by_text("undone").wait_for()


def test_a_payload_is_edited_as_json_and_the_saga_goes_on_with_it(board):
    ship = {**sagas.SHIP, "action": "flaky", "payload": {"times": -1}}
    board.server.post(sagas.order("edited", ship=ship, onFailure="hold"), wait_s=10)
    board.go("/ui/sagas/edited").heading("edited")
    board.button("Edit: ship_order…").click()
    dialog = board.page.get_by_role("dialog")
    payload = dialog.get_by_label("Payload", exact=True)
    payload.fill("{")
    dialog.get_by_text("This is no JSON", exact=False).wait_for()
    assert dialog.get_by_role("button", name="Edit", exact=True).is_disabled()
    payload.fill('{"times": 0}')
    dialog.get_by_role("button", name="Edit", exact=True).click()
    board.page.locator(".head-status").get_by_text("completed").wait_for()


def test_a_move_that_is_refused_says_what_is_allowed(board):
    board.server.post(sagas.held("moved-meanwhile"), wait_s=10)
    board.go("/ui/sagas/moved-meanwhile").heading("moved-meanwhile")
    board.button("Delete…").click()
    board.server.call("DELETE", "/api/sagas/moved-meanwhile")
    board.page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    board.page.get_by_role("dialog").get_by_role("alert").get_by_text("Saga not found").wait_for()
    assert board.watch.complaints, "the browser tells of a 404"
    board.watch.complaints.clear()


# The list


def test_the_filters_are_in_the_address_and_back_takes_them_back(board):
    board.go("/ui/sagas?status=completed").heading("Sagas")
    board.link("order-1000").wait_for()
    assert board.page.get_by_label("Status").input_value() == "completed"
    assert board.page.get_by_role("link", name="order-1008").count() == 0

    board.page.get_by_label("Status").select_option("compensated")
    board.link("order-1008").wait_for()
    assert urlsplit(board.page.url).query == "status=compensated"
    board.link("order-1008").click()
    board.heading("order-1008")
    board.page.go_back()
    board.link("order-1008").wait_for()
    board.go("/ui/sagas?tag=customer%3Dc-7")
    board.link("order-1008").wait_for()
    assert board.page.get_by_role("link", name="order-1000").count() == 0


def test_an_id_is_opened_and_a_name_is_listed(board):
    board.go("/ui/sagas").link("order-1000").wait_for()
    board.page.keyboard.press("/")
    board.page.keyboard.type("order-1003")
    board.page.keyboard.press("Enter")
    board.heading("order-1003")
    board.page.keyboard.press("u")
    board.link("order-1000").wait_for()
    board.page.keyboard.press("/")
    board.page.keyboard.type("trip")
    board.page.keyboard.press("Enter")
    board.wait_url(r"name=trip$")
    board.link("trip-1").wait_for()
    board.watch.complaints.clear()  # that there is no saga "trip" is a 404


def test_the_keys_lead_everywhere(board):
    board.go("/ui").heading("Overview")
    keyboard = board.page.keyboard
    for keys, heading in (
        ("gs", "Sagas"),
        ("gv", "Services"),
        ("gn", "New saga"),
        ("gy", "System"),
    ):
        board.page.locator("main").focus()
        keyboard.type(keys)
        board.heading(heading)
    board.page.locator("main").focus()
    keyboard.press("?")
    board.page.get_by_role("dialog", name="Keys").wait_for()
    keyboard.press("Escape")
    board.page.get_by_role("dialog").wait_for(state="detached")
    keyboard.type("gs")
    board.link("order-1000").wait_for()
    first = board.page.locator(".virtual .tr a").first.inner_text()
    keyboard.press("j")
    keyboard.press("Enter")
    board.heading(first)


def test_a_move_of_many_is_planned_made_and_told_for_each(board):
    for number in range(3):
        board.server.post(sagas.held(f"many-{number}"), wait_s=10)
    board.server.post({**sagas.order("many-done"), "name": "many"}, wait_s=10)
    board.go("/ui/sagas?status=failed").heading("Sagas")
    for number in range(3):
        board.page.get_by_label(f"Select many-{number}").click()
    board.see("3 sagas selected")
    board.button("Make a move…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_label("Compensate 3 of 3").check()
    dialog.get_by_label("Reason").fill("all of them")
    dialog.get_by_role("button", name="Compensate 3 sagas").click()
    dialog.get_by_text("3 moved, 0 not.", exact=False).wait_for()
    dialog.get_by_role("button", name="Done").click()
    for number in range(3):
        assert board.status(f"many-{number}") in ("compensating", "compensated")
        events = board.server.call("GET", f"/api/sagas/many-{number}/events")[1]["events"]
        assert any(event["payload"].get("note") == "all of them" for event in events)


def test_all_that_the_filters_let_through_are_counted_and_then_moved(board):
    for number in range(3):
        board.server.post({**sagas.held(f"fleet-{number}"), "name": "fleet"}, wait_s=10)
    board.go("/ui/sagas?name=fleet&status=failed").link("fleet-0").wait_for()
    board.button("Move all of these…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_label("Move", exact=True).select_option("compensate")
    dialog.get_by_label("Reason").fill("the whole fleet")
    dialog.get_by_role("button", name="Count them").click()
    dialog.get_by_role("button", name="Compensate 3 sagas").click()
    dialog.get_by_text("3 moved, 0 not.", exact=False).wait_for()
    dialog.get_by_role("button", name="Done").click()
    for number in range(3):
        assert board.status(f"fleet-{number}") in ("compensating", "compensated")


def test_ten_thousand_sagas_are_a_few_dozen_rows_and_little_work(browser, tmp_path):
    """What the browser's main thread computes for each page of 200, and while somebody scrolls through all."""
    server = started(tmp_path / "many")
    try:
        server.call("PUT", "/api/services/inventory/pause")  # so that they are quickly there
        lines = "\n".join(json.dumps(sagas.small(f"s-{number:05}")) for number in range(MANY))
        _post_lines(server, lines)
        with opened(browser, server) as board:
            board.go("/ui/sagas").heading("Sagas")
            board.link("s-09999").wait_for()
            cdp = board.page.context.new_cdp_session(board.page)
            cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
            before = _metrics(cdp)
            board.page.evaluate(SCROLL_THROUGH, MANY * ROW_HEIGHT)
            after = _metrics(cdp)
            shown = board.page.locator(".virtual .tr").count()
            frames = board.page.evaluate("window.longest")
        assert 20 <= shown <= 80
        script_s = after["ScriptDuration"] - before["ScriptDuration"]
        print(f"{MANY} rows: {script_s:.2f} s of script, longest frame {frames:.0f} ms")
        assert script_s < 4.0, "0.4 ms of script for each row that was read and scrolled past"
    finally:
        server.close()


SCROLL_THROUGH = """async (height) => {
  const box = document.querySelector(".virtual");
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
  }).observe({ entryTypes: ["longtask"] });
  const untilMs = performance.now() + 30000;
  while (box.scrollTop + box.clientHeight < height - 1 && performance.now() < untilMs) {
    box.scrollTop += 1900;
    await new Promise(requestAnimationFrame);
  }
  if (performance.now() >= untilMs) throw new Error(`only ${box.scrollTop} of ${height}`);
}"""


def _metrics(cdp):
    return {one["name"]: one["value"] for one in cdp.send("Performance.getMetrics")["metrics"]}


def _post_lines(server, lines):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(
            "POST", "/api/sagas/batch", lines, {"Content-Type": "application/x-ndjson"}
        )
        assert connection.getresponse().read()


# One saga


def test_a_saga_is_shown_as_it_was_after_any_event(board):
    board.go("/ui/sagas/order-1008").heading("order-1008")
    board.see("it is compensated", exact=False)
    board.page.get_by_role("button", name="Show the saga as it was after event 4").click()
    board.wait_url(r"\?at=4$")
    board.see("As it was after event 4", exact=False)
    node = board.page.locator(".node", has_text="process_payment")
    node.get_by_text("pending").wait_for()
    board.see("You look at the past; moves are made now.")
    assert board.button("Retry…").is_disabled()
    board.page.keyboard.press("]")
    board.wait_url(r"\?at=5$")
    board.button("Now").click()
    node.get_by_text("completed").wait_for()
    assert board.button("Retry…").is_enabled()


def test_the_graph_shows_what_was_undone_and_the_timeline_each_attempt(board):
    board.go("/ui/sagas/order-1010").heading("order-1010")
    board.page.get_by_role("tab", name="Timeline").click()
    board.page.get_by_role("img", name="Timeline of 5 attempts").wait_for()
    board.go("/ui/sagas/order-1008").heading("order-1008")
    back = board.page.locator(".back-node", has_text="payment.refund")
    back.get_by_text("undone").wait_for()
    board.page.locator(".node", has_text="ship_order").click()
    detail = board.page.get_by_role("region", name="Step ship_order")
    detail.get_by_text("shipping.fail always refuses", exact=False).first.wait_for()


def test_a_saga_that_runs_is_followed_without_a_touch(board):
    board.server.post(sagas.slow("followed", seconds=2))
    board.go("/ui/sagas/followed").heading("followed")
    board.page.locator(".head-status").get_by_text("running").wait_for()
    board.page.locator(".head-status").get_by_text("completed").wait_for()
    board.see("All steps are done", exact=False)


def test_a_saga_that_is_not_there_says_so(board):
    board.go("/ui/sagas/nobody").heading("nobody")
    board.see("There is no saga with this id")
    board.go("/ui/nowhere").heading("Nothing here")
    board.watch.complaints.clear()


def test_markup_in_a_saga_is_shown_and_not_obeyed(board):
    evil = "<img src=x onerror=document.title='owned'>"
    reserve = {**sagas.RESERVE, "payload": {"productId": evil}}
    document = {"id": "evil", "name": "evil", "steps": [reserve], "tags": {evil: evil}}
    board.server.post(document, wait_s=10)
    board.go("/ui/sagas/evil").heading("evil")
    board.see(f"{evil}={evil}")
    board.page.locator(".node").click()
    board.page.get_by_label("Payload of reserve_inventory", exact=True).get_by_text(
        evil, exact=False
    ).wait_for()
    assert board.page.locator("img").count() == 0
    assert "owned" not in board.page.title()


HIDE = """isHidden => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_tab_holds_no_stream_and_goes_on_where_it_was(board):
    board.go("/ui/sagas").link("order-1000").wait_for()
    board.page.locator(".who", has_text="live").wait_for()
    board.server.post(sagas.order("seen"), wait_s=10)
    board.link("seen").wait_for()
    board.page.evaluate(HIDE, True)
    board.page.locator(".who", has_text="connected").wait_for()
    board.server.post(sagas.order("meanwhile"), wait_s=10)
    with board.page.expect_request(lambda one: one.url.endswith("/api/events")) as again:
        board.page.evaluate(HIDE, False)
    assert again.value.headers["last-event-id"]
    board.link("meanwhile").wait_for()


# Keys and roles


def test_a_server_that_wants_a_key_is_given_one_and_a_viewer_may_only_look(browser, keyed):
    with opened(browser, keyed) as board:
        board.go("/ui/sagas/order-1").heading("This server wants a key")
        board.page.get_by_label("Key", exact=True).fill("sgk_wrong")
        board.button("Enter").click()
        board.see("The key is not known", exact=False)
        board.page.get_by_label("Key", exact=True).fill(KEYS[Role.VIEWER][0])
        board.button("Enter").click()
        board.heading("order-1")
        board.see("The key viewer-key is a viewer's: it may look, and change nothing.")
        moves = board.page.locator("button.move")
        assert moves.count() >= 2
        assert all(moves.nth(at).is_disabled() for at in range(moves.count()))
        kept = board.page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
        assert kept[0] == [KEYS[Role.VIEWER][0]]
        assert KEYS[Role.VIEWER][0] not in kept[1]
        assert all("sgk_" not in url for url in board.watch.requests)
        board.watch.complaints.clear()  # the browser tells of each 401


def test_an_operators_key_moves_sagas_in_its_own_name(browser, keyed):
    with opened(browser, keyed) as board:
        board.go("/ui/sagas/order-1").heading("This server wants a key")
        board.page.get_by_label("Key", exact=True).fill(KEYS[Role.OPERATOR][0])
        board.button("Enter").click()
        board.heading("order-1")
        board.button("Resolve: process_payment · undone…").click()
        dialog = board.page.get_by_role("dialog")
        assert dialog.get_by_label("Your name").count() == 0
        dialog.get_by_role("button", name="Resolve", exact=True).click()
        board.see("was said to be undone by operator-key", exact=False)
        board.watch.complaints.clear()


# Services


def test_a_service_is_paused_and_resumed(board):
    board.go("/ui/services").heading("Services")
    shipping = board.page.get_by_role("region", name="shipping")
    shipping.get_by_role("button", name="Pause…").click()
    dialog = board.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("they move house")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    shipping.get_by_text("they move house", exact=False).wait_for()
    board.server.post(sagas.order("waits"))
    board.go("/ui/sagas/waits").heading("waits")
    board.page.locator(".summary").get_by_text("shipping", exact=False).wait_for()
    board.go("/ui/services").heading("Services")
    shipping.get_by_role("button", name="Resume…").click()
    dialog.get_by_role("button", name="Resume", exact=True).click()
    shipping.get_by_text("closed").wait_for()
    board.go("/ui/sagas/waits").heading("waits")
    board.page.locator(".head-status").get_by_text("completed").wait_for()


# Analytics


def test_what_fails_and_what_is_slow_is_counted(board):
    board.go("/ui/analytics?name=order_processing").heading("Analytics")
    board.page.get_by_role("region", name="How sagas end, by name").get_by_text(
        "undone,", exact=False
    ).wait_for()
    slow = board.page.get_by_role("region", name="Slowest calls, as a table")
    slow.get_by_text("payment.charge").first.wait_for()
    failed = board.page.get_by_role("region", name="What fails, by step and error")
    failed.get_by_role("rowheader", name="ship_order").first.wait_for()


# A new saga


def test_a_draft_is_checked_while_it_is_written_and_then_begun(board):
    board.go("/ui/new").heading("New saga")
    editor = board.page.get_by_label("Definition as JSON")
    draft = json.loads(editor.input_value())
    assert [step["id"] for step in draft["steps"]] == [
        "reserve_inventory",
        "process_payment",
        "ship_order",
    ]
    editor.fill('{"name": "x",\n  "steps": [,]}')
    board.see("a value is expected here", exact=False)
    board.button("Line 2, column 13").click()
    assert board.button("Begin the saga").is_disabled()
    editor.fill('{"name": "x",\n  "steps": [{"id": "a", "service": "nobody", "action": "b"}]}')
    board.see("It would be refused: 1 fault.")
    board.button("/steps/0/service").click()
    assert board.page.evaluate("getSelection().toString()") == '"nobody"'
    editor.fill(json.dumps({**draft, "id": "by-hand"}))
    board.see("It would be accepted", exact=False)
    board.page.locator(".new-side .node", has_text="ship_order").wait_for()
    board.button("Begin the saga").click()
    board.heading("by-hand")
    board.page.locator(".head-status").get_by_text("completed").wait_for()


# What goes wrong


def test_a_server_that_ends_is_told_and_one_that_comes_back_is_found(browser, tmp_path):
    server = started(tmp_path / "gone")
    with opened(browser, server) as board:
        board.go("/ui").heading("Overview")
        board.see("Begin the first one")
        server.end()
        silence = board.page.get_by_role("alert").get_by_text("has not answered", exact=False)
        silence.wait_for()
        again = Server(tmp_path / "gone", "--demo", port=server.port)
        try:
            again.ready()
            silence.wait_for(state="detached")
            again.post(sagas.order("after"), wait_s=10)
            board.link("after").wait_for()
        finally:
            again.close()
            server.close()
        board.watch.complaints.clear()  # the browser tells of each request that failed


# How it looks


def test_the_theme_is_the_systems_until_another_is_chosen(browser, server):
    with opened(browser, server, color_scheme="dark") as board:
        board.go("/ui").heading("Overview")
        assert _background(board) == "rgb(14, 19, 25)"
        board.page.locator("main").focus()
        board.page.keyboard.press("t")
        assert _background(board) == "rgb(245, 246, 248)"
        board.page.reload()
        board.heading("Overview")
        assert _background(board) == "rgb(245, 246, 248)", "it is remembered"


def _background(board):
    return board.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


PLACES = {
    "overview": "/ui",
    "list": "/ui/sagas",
    "nothing": "/ui/sagas?name=nobody",
    "saga": "/ui/sagas/order-1008",
    "past": "/ui/sagas/order-1008?at=4",
    "timeline": "/ui/sagas/order-1010?tab=timeline",
    "plan": "/ui/sagas/order-1009?tab=undo",
    "definition": "/ui/sagas/trip-1?tab=definition",
    "services": "/ui/services",
    "analytics": "/ui/analytics",
    "new": "/ui/new",
    "system": "/ui/system",
}


NARROW_PLACES = {"overview", "list", "past", "plan", "services", "analytics", "new", "system"}


@pytest.mark.parametrize(
    ("scheme", "viewport", "rules"),
    [("light", WIDE, None), ("dark", NARROW, ["color-contrast", "target-size"])],
    ids=["light and wide", "dark and narrow"],
)
def test_every_page_is_accessible_and_fits_the_window(browser, server, scheme, viewport, rules):
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), {}
    with opened(browser, server, color_scheme=scheme) as board:
        board.page.set_viewport_size(viewport)
        for name, path in PLACES.items():
            if rules and name not in NARROW_PLACES:
                continue
            board.go(path)
            board.page.locator("h1").first.wait_for()
            board.page.locator(".loading").first.wait_for(state="detached")
            found[name] = _violations(axe, board.page, rules)
            assert board.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        board.go("/ui/sagas/order-1009").heading("order-1009")
        board.button("Compensate…").click()
        found["move"] = _violations(axe, board.page, rules)
        board.page.keyboard.press("Escape")
        board.page.get_by_role("dialog").wait_for(state="detached")
        board.page.keyboard.press("?")
        board.page.get_by_role("dialog").wait_for()
        found["keys"] = _violations(axe, board.page, rules)
    assert not {name: wrong for name, wrong in found.items() if wrong}


def _violations(axe, page, only):
    options = {"resultTypes": ["violations"], **({"runOnly": only} if only else {})}
    said = axe.run(page, options=options).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]][:3], one["help"]) for one in said]
