from __future__ import annotations

import pytest

from sagakeep.bind import Bind, parse_bind
from sagakeep.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "bind", "is_local"),
    [
        ("127.0.0.1:8080", Bind("127.0.0.1", 8080), True),
        ("localhost:0", Bind("localhost", 0), True),
        ("[::1]:65535", Bind("::1", 65535), True),
        ("127.9.9.9:1", Bind("127.9.9.9", 1), True),
        ("unix:/run/a.sock", Bind("", 0, "/run/a.sock"), True),
        ("0.0.0.0:8080", Bind("0.0.0.0", 8080), False),
        ("[::]:8080", Bind("::", 8080), False),
        ("10.0.0.1:80", Bind("10.0.0.1", 80), False),
        ("sagas.example:80", Bind("sagas.example", 80), False),
    ],
)
def test_an_address_is_read_and_known_to_be_local_or_not(text: str, bind: Bind, is_local: bool):
    assert parse_bind(text) == bind
    assert bind.is_local == is_local


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "localhost", "a:", "a:x", "a:65536", "a:-1", "::1:80", "unix:"]
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ConfigurationError, match="bind"):
        parse_bind(text)
