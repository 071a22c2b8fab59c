"""The configuration of one server: every setting, its type and its default.

A configuration is one TOML document (specification, section 6); the names of its keys are those of the
fields here in camelCase. `sagakeep.settings.sources` reads it from a file, the environment and the command line.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from sagakeep import limits
from sagakeep.retention_rule import RetentionRule
from sagakeep.thresholds import Thresholds


class StatusMeaning(StrEnum):
    """What an HTTP status code of one service means, where it differs from the table of all."""

    DONE = "done"
    NOT_DONE = "not_done"  # for good
    NOT_DONE_RETRYABLE = "not_done_retryable"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a key allows: to read; also to create and move sagas; also to change the server."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class LogFormat(StrEnum):
    AUTO = "auto"  # text on a terminal, else JSON
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ServiceConfig(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={
        "concurrency_max": "maxConcurrency",
        "queue_max": "maxQueue",
        "rate_limit_per_s": "rateLimit",
        "rate_burst": "rateBurst",
        "breaker_failures": "breakerFailures",
        "breaker_open_s": "breakerOpenS",
        "ramp_calls_per_s": "rampCallsPerS",
    },
):
    """How to reach a service: exactly one of `url` and `python` ("module:attribute"); and how much it is asked
    (`sagakeep.actors.service_spec` says what each means).

    `headers` go with every request; their values are secret. `statuses` gives status codes, as
    strings, another meaning.
    """

    url: str = ""
    python: str = ""
    concurrency_max: int = limits.SERVICE_CONCURRENCY
    queue_max: int = 0
    rate_limit_per_s: float = 0.0
    rate_burst: int = 0
    breaker_failures: int = limits.BREAKER_FAILURES
    breaker_open_s: float = limits.BREAKER_OPEN_S
    ramp_calls_per_s: float = limits.RAMP_CALLS_PER_S
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    statuses: dict[str, StatusMeaning] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "headers"}
        members = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"ServiceConfig({members}, headers of {sorted(self.headers)})"


class ApiKeyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key: who it is, the SHA-256 of it in hexadecimal, and what it allows."""

    name: str
    sha256: str
    role: Role


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may use the server; without keys only this machine."""

    keys: tuple[ApiKeyConfig, ...] = ()


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told of sagas that come to rest, and of alerts. The secrets sign each event.

    `types`, `names` and `tags` say what is told; empty ones want everything.
    """

    url: str
    secrets: tuple[str, ...]
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tags: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"WebhookConfig(url={self.url!r}, {len(self.secrets)} secrets)"


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the log, on standard error, is written."""

    format: LogFormat = LogFormat.AUTO
    level: LogLevel = LogLevel.INFO


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The bounds that a deployment may change; `sagakeep.limits` says why each is what it is."""

    steps_max: int = limits.STEPS_MAX
    timeout_s_max: float = limits.TIMEOUT_S_MAX
    retries_max: int = limits.RETRIES_MAX
    tags_max: int = limits.TAGS_MAX
    tag_chars_max: int = limits.TAG_CHARS_MAX
    body_bytes_max: int = limits.BODY_BYTES_MAX
    batch_bytes_max: int = limits.BATCH_BYTES_MAX
    bodies_bytes_max: int = limits.BODIES_BYTES_MAX
    batch_sagas_max: int = limits.BATCH_SAGAS_MAX
    json_depth_max: int = limits.JSON_DEPTH_MAX
    reply_bytes_max: int = limits.REPLY_BYTES_MAX
    payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX
    service_queue_max: int = limits.SERVICE_QUEUE_MAX
    service_queue_crowded: int = limits.SERVICE_QUEUE_CROWDED
    retry_after_s_max: float = limits.RETRY_AFTER_S_MAX
    hold_off_s_max: float = limits.HOLD_OFF_S_MAX
    live_sagas_max: int = limits.LIVE_SAGAS_MAX
    memory_bytes_max: int = limits.MEMORY_BYTES_MAX
    mailbox_max: int = limits.MAILBOX_MAX
    restarts_max: int = limits.RESTARTS_MAX
    restart_period_s: float = limits.RESTART_PERIOD_S
    recovered_calls_per_s: float = limits.RECOVERED_CALLS_PER_S
    pending_bytes_max: int = limits.PENDING_BYTES_MAX
    segment_bytes: int = limits.SEGMENT_BYTES
    snapshot_every_bytes: int = limits.SNAPSHOT_EVERY_BYTES
    archive_behind_bytes: int = limits.ARCHIVE_BEHIND_BYTES
    erase_after_s: float = limits.ERASE_AFTER_S
    disk_reserve_bytes: int = limits.DISK_RESERVE_BYTES
    headers_s_max: float = limits.HEADERS_S_MAX
    body_s_max: float = limits.BODY_S_MAX
    connections_max: int = limits.CONNECTIONS_MAX
    connections_per_client_max: int = limits.CONNECTIONS_PER_CLIENT_MAX
    write_stall_s_max: float = limits.WRITE_STALL_S_MAX
    wait_s_max: float = limits.WAIT_S_MAX
    page_max: int = limits.PAGE_MAX
    stream_buffer_events_max: int = limits.STREAM_BUFFER_EVENTS_MAX


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"grace_s": "grace"}):
    """All settings. `grace_s` is how long running attempts may go on at SIGTERM.

    `hosts` are further names that the server goes by, as in the Host header.
    """

    bind: str = "127.0.0.1:8080"
    data: str = "./sagakeep-data"
    grace_s: float = limits.GRACE_S
    hosts: tuple[str, ...] = ()
    services: dict[str, ServiceConfig] = msgspec.field(default_factory=dict)
    auth: AuthConfig = AuthConfig()
    limits: Limits = Limits()
    log: LogConfig = LogConfig()
    alerts: Thresholds = Thresholds()
    retention: tuple[RetentionRule, ...] = ()
    webhooks: dict[str, WebhookConfig] = msgspec.field(default_factory=dict)


_DEFAULTS: Final = {  # of a definition, and what bounds each: a lower bound lowers the default
    "TIMEOUT_S": "TIMEOUT_S_MAX",
    "SAGA_TIMEOUT_S": "TIMEOUT_S_MAX",
    "RETRY_INITIAL_S": "TIMEOUT_S_MAX",
    "RETRY_INTERVAL_S_MAX": "TIMEOUT_S_MAX",
    "RETRIES": "RETRIES_MAX",
    "COMPENSATION_RETRIES": "RETRIES_MAX",
}


def use_limits(bounds: Limits) -> None:
    """Make these the bounds of the process.

    The modules read `sagakeep.limits` when they are imported, some of it into types; so this comes
    before anything that is bounded is imported, once, and no later.
    """
    for name in bounds.__struct_fields__:
        setattr(limits, name.upper(), getattr(bounds, name))
    for default, bound in _DEFAULTS.items():
        setattr(limits, default, min(getattr(limits, default), getattr(limits, bound)))
