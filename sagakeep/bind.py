"""Where the server listens: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`."""

from __future__ import annotations

import ipaddress

import msgspec

from sagakeep.errors import ConfigurationError


class Bind(msgspec.Struct, frozen=True):
    """One address; `path` is that of a Unix socket or `""`. Port 0 means any free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Tell whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_bind(text: str) -> Bind:
    """Read a setting; raises ConfigurationError."""
    if text.startswith("unix:"):
        if len(text) > len("unix:"):
            return Bind(host="", port=0, path=text.removeprefix("unix:"))
        raise ConfigurationError(f"bind {text!r}: want a path after unix:")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ConfigurationError(f"bind {text!r}: want HOST:PORT, [IPV6]:PORT or unix:PATH")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ConfigurationError(f"bind {text!r}: the port must be 0 to 65535")
    return Bind(host=host.strip("[]"), port=int(port))
