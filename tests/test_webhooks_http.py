"""Webhooks of the real process to a real receiver, over kills."""

# mypy: allow-untyped-calls
# (the process helper has no types)

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_journal import order
from http_peer import Visit, open_peer
from served import Server
from webhook_receiver import SECRET, Receiver, verify_of_the_page, write_config

from sagakeep.errors import ConfigurationError
from sagakeep.http.poster import HttpPoster
from sagakeep.settings.config import Config, WebhookConfig
from sagakeep.settings.sources import load_config, read_settings, rows_of
from sagakeep.webhook import Message, headers_of
from sagakeep.webhook_secret import secret_of
from sagakeep.webhook_settings import webhooks_of


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


# The process


def test_the_end_of_a_saga_reaches_a_receiver_signed(tmp_path: Path, receiver: Receiver) -> None:
    server = _serve(tmp_path, receiver)
    try:
        _, saga = server.post(order("order-1"), wait_s=20)
        receiver.wait(lambda: len(receiver.taken) == 1)
        event = receiver.taken[0].event
        assert event["type"] == "sagakeep.saga.completed"
        assert event["data"] == {
            "id": "order-1",
            "name": saga["name"],
            "status": "completed",
            "reason": "",
            "tags": saga["tags"],
            "createdAt": saga["createdAt"],
            "updatedAt": saga["updatedAt"],
            "href": "/api/sagas/order-1",
        }
        assert event["id"] == receiver.taken[0].id
        assert receiver.bad == []
        assert server.end() == 0
    finally:
        server.close()


def test_every_end_is_told_over_three_kills_while_the_receiver_comes_and_goes(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.status = 503
    ids: set[str] = set()
    for life in range(4):
        server = _serve(tmp_path, receiver)
        try:
            for number in range(40):
                status, saga = server.post(order(f"order-{life}-{number}"))
                assert status == 201
                ids.add(saga["id"])
            if life == 1:
                receiver.status = 204
                receiver.wait(lambda: len(receiver.taken) >= 10)
            if life == 2:
                receiver.status = 503
            if life == 3:
                receiver.status = 204
                _wait_told(receiver, ids)
            else:
                assert server.end(signal.SIGKILL) == -signal.SIGKILL
        finally:
            server.close()
    assert receiver.bad == []
    assert len({one.id for one in receiver.taken}) == len(ids), "an event keeps its id over a kill"


def _wait_told(receiver: Receiver, ids: set[str]) -> None:
    receiver.wait(lambda: {str(one.event["subject"]) for one in receiver.taken} >= ids)


def _serve(directory: Path, receiver: Receiver) -> Server:
    config = write_config(directory, receiver.url)
    server = Server(directory / "data", "--demo", "--config", str(config))
    server.ready()
    return server


# One attempt


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status = 307
    poster = HttpPoster(receiver.url)
    posted = await poster.post(_headers(), BODY)
    await poster.aclose()
    assert posted.status == 307
    assert posted.is_refusal
    assert len(receiver.attempts) == 1


async def test_who_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagakeep.http.poster.POST_S_MAX", 0.1)

    async def say_nothing(visit: Visit) -> None:
        await visit.wait_gone()

    async with open_peer(say_nothing) as url:
        poster = HttpPoster(url)
        posted = await poster.post(_headers(), BODY)
        await poster.aclose()
    assert (posted.status, posted.error) == (0, "no reply within 0.1 s")
    assert not posted.is_refusal


async def test_who_is_not_there_is_told_of_without_the_address() -> None:
    poster = HttpPoster("http://127.0.0.1:1/path-with-a-token")
    posted = await poster.post(_headers(), BODY)
    await poster.aclose()
    assert posted.status == 0
    assert posted.error.startswith("no connection: ")
    assert "token" not in posted.error


BODY = b'{"a": 1}'


def _headers() -> dict[str, str]:
    message = Message("id-1", "subject", 0.0, BODY)
    return headers_of(message, [secret_of(SECRET)], int(time.time()))


# Signatures


def test_the_verification_of_the_page_takes_what_is_signed_and_nothing_else() -> None:
    verify = verify_of_the_page()
    other = "whsec_" + "QUJD" * 8
    message = Message("id-1", "subject", 0.0, BODY)
    now = int(time.time())
    both = headers_of(message, [secret_of(other), secret_of(SECRET)], now)
    verify(SECRET, both, BODY)
    verify(other, both, BODY)
    with pytest.raises(ValueError, match="not signed"):
        verify(SECRET, headers_of(message, [secret_of(other)], now), BODY)
    with pytest.raises(ValueError, match="not signed"):
        verify(SECRET, both, BODY + b" ")
    with pytest.raises(ValueError, match="replay"):
        verify(SECRET, headers_of(message, [secret_of(SECRET)], now - 1000), BODY)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's reference libraries."""
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", "", 0.0, b'{"test": 2432232314}')
    headers = headers_of(message, [secret_of(SECRET)], 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# The configuration


def test_the_configuration_makes_a_webhook(tmp_path: Path) -> None:
    more = 'types = ["sagakeep.saga.failed"]\nnames = ["order"]\ntags = { shop = "1" }\n'
    config = load_config(str(write_config(tmp_path, "http://127.0.0.1:9/h", more)), {}, {})
    spec = webhooks_of(config.webhooks)["shop"].spec
    assert spec.types == {"sagakeep.saga.failed"}
    assert spec.names == {"order"}
    assert spec.tags == {"shop": "1"}
    assert SECRET not in repr(config) + repr(spec)


def test_a_secret_may_come_from_the_environment_and_is_masked(tmp_path: Path) -> None:
    path = tmp_path / "sagakeep.toml"
    path.write_text('[webhooks.shop]\nurl = "http://127.0.0.1:9/h"\n')
    settings = read_settings(str(path), {"SAGAKEEP_WEBHOOKS__SHOP__SECRETS": SECRET}, {})
    assert settings.config.webhooks["shop"].secrets == (SECRET,)
    shown = {key: value for key, value, _ in rows_of(settings)}
    assert shown["webhooks.shop.secrets"] == '"***"'
    assert SECRET not in json.dumps(shown)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('secrets = ["whsec_QUJD"]', "is no secret; expected whsec_"),
        ('secrets = ["no canary"]', "is no secret; expected whsec_"),
        ("secrets = []", "is empty; expected one secret"),
        ('secrets = "whsec_canary"', "is no list of strings"),
        (
            f'secrets = ["{SECRET}"]\ntypes = ["sagakeep.saga.gone"]',
            "expected some of sagakeep.saga.",
        ),
        (f'secrets = ["{SECRET}"]\nurl = "file:///etc/passwd"', "url"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_told_without_its_secret(
    tmp_path: Path, text: str, fault: str
) -> None:
    url = "" if "url" in text else 'url = "http://127.0.0.1:9/h"\n'
    path = tmp_path / "sagakeep.toml"
    path.write_text(f"[webhooks.shop]\n{url}{text}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(path), {}, {})
    assert fault in str(caught.value)
    assert "canary" not in str(caught.value)


def test_webhooks_have_names_and_a_bound(tmp_path: Path) -> None:
    table = '[webhooks."{}"]\nurl = "http://127.0.0.1:9/h"\nsecrets = ["{}"]\n'
    path = tmp_path / "sagakeep.toml"
    path.write_text("".join(table.format(f"w{n}", SECRET) for n in range(21)))
    with pytest.raises(ConfigurationError, match="has more than 20"):
        load_config(str(path), {}, {})
    path.write_text(table.format("../up", SECRET))
    with pytest.raises(ConfigurationError, match="is no name of a webhook"):
        load_config(str(path), {}, {})


def test_without_a_configuration_nobody_is_told() -> None:
    assert webhooks_of(Config().webhooks) == {}
    assert "secret" in repr(WebhookConfig("http://a", (SECRET,)))
