"""What a configuration must be, beyond the types of its values. Each rule looks at one setting."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import fields

from sagakeep import limits
from sagakeep.bind import parse_bind
from sagakeep.errors import ConfigurationError
from sagakeep.faults import Faults, found
from sagakeep.pointer import child
from sagakeep.retention_rule import (
    KEEP_COUNT_MAX,
    KEEP_S_MAX,
    RULES_MAX,
    STATUSES,
    RetentionRule,
)
from sagakeep.service_bounds import BOUNDS
from sagakeep.settings.config import ApiKeyConfig, Config, Limits, ServiceConfig, WebhookConfig
from sagakeep.thresholds import SLOW_S_MAX, STUCK_AFTER_S_MAX, Thresholds
from sagakeep.webhook_secret import secret_of

WEBHOOK_TYPES: Final = (  # `sagakeep.webhook.TYPES`, which imports what is bounded
    "sagakeep.saga.completed",
    "sagakeep.saga.compensated",
    "sagakeep.saga.failed",
    "sagakeep.saga.compensation_failed",
    "sagakeep.saga.abandoned",
    "sagakeep.alert.raised",
    "sagakeep.alert.ended",
)
GRACE_S_MAX: Final = 24 * 3600.0
CONCURRENCY_MAX: Final = limits.SERVICE_QUEUE_MAX

_NAME: Final = re.compile(limits.NAME_PATTERN)
_HOST: Final = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
)
_PYTHON: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]{0,8192}")

# Where the product itself breaks above a value. Below 1, or at 0, nothing works: that is for all.
_CEILINGS: Final[dict[str, float]] = {
    "batch_bytes_max": limits.FRAME_BYTES_MAX,
    "body_bytes_max": limits.FRAME_BYTES_MAX,
    "json_depth_max": 120,  # msgpack nests to 512: sagakeep.codec
    "payload_bytes_max": limits.FRAME_BYTES_MAX,
    "reply_bytes_max": limits.FRAME_BYTES_MAX,
    "segment_bytes": 1 << 40,
    "steps_max": 10_000,
}
_NUMBER_MAX: Final = 1 << 53  # what a float holds exactly


def check_secrets(document: dict[str, object], faults: Faults) -> None:
    """Note what is wrong in type where a secret may be, in words that do not quote it."""
    services = document.get("services")
    for name, service in services.items() if isinstance(services, dict) else ():
        headers = service.get("headers", {}) if isinstance(service, dict) else {}
        pointer = child("/services", name) + "/headers"
        if not isinstance(headers, dict):
            faults.add_unreadable(pointer, "is no table; expected names and values of headers")
            continue
        for header, value in headers.items():
            if not isinstance(value, str):
                faults.add_unreadable(child(pointer, header), "is no string")

    _check_webhook_secrets(document.get("webhooks"), faults)


def _check_webhook_secrets(webhooks: object, faults: Faults) -> None:
    for name, webhook in webhooks.items() if isinstance(webhooks, dict) else ():
        secrets = webhook.get("secrets", []) if isinstance(webhook, dict) else []
        is_list = isinstance(secrets, list) and all(isinstance(one, str) for one in secrets)
        if not is_list:
            pointer = child("/webhooks", name) + "/secrets"
            faults.add_unreadable(pointer, "is no list of strings")


def check_config(config: Config, faults: Faults) -> None:
    """Note everything that is wrong with a configuration whose types are right."""
    _check_bind(config, faults)
    if not config.data or "\0" in config.data:
        faults.add("/data", f"is {found(config.data)}; expected the path of a directory")
    if not 0 <= config.grace_s <= GRACE_S_MAX:
        wanted = f"expected seconds, 0 to {GRACE_S_MAX:.0f}"
        faults.add("/grace", f"is {found(config.grace_s)}; {wanted}")
    for at, host in enumerate(config.hosts):
        if not _HOST.fullmatch(host):
            faults.add(f"/hosts/{at}", f"is {found(host)}; expected NAME or NAME:PORT")
    for name, service in config.services.items():
        _check_service(child("/services", name), name, service, faults)
    _check_keys(config.auth.keys, faults)
    _check_alerts(config.alerts, faults)
    _check_retention(config.retention, faults)
    if len(config.webhooks) > limits.WEBHOOKS_MAX:
        faults.add("/webhooks", f"has more than {limits.WEBHOOKS_MAX}")
    for name, webhook in config.webhooks.items():
        _check_webhook(child("/webhooks", name), name, webhook, faults)
    _check_limits(config.limits, faults)


def _check_bind(config: Config, faults: Faults) -> None:
    try:
        bind = parse_bind(config.bind)
    except ConfigurationError as error:
        faults.add("/bind", str(error))
        return
    if not bind.is_local and not config.auth.keys:
        faults.add(
            "/bind",
            f"is {found(config.bind)}, which other machines can reach, and no [[auth.keys]] is"
            " configured; run `sagakeep key new --role operator` and add the entry that it"
            " prints, or bind to 127.0.0.1, [::1], localhost or unix:PATH",
        )


def _check_service(pointer: str, name: str, service: ServiceConfig, faults: Faults) -> None:
    if not _NAME.fullmatch(name):
        faults.add(pointer, f"is no name of a service; expected {limits.NAME_PATTERN}")
    if bool(service.url) == bool(service.python):
        both = "has both" if service.url else "has neither of"
        faults.add(pointer, f"{both} url and python; expected exactly one")
    elif service.url:
        _check_url(f"{pointer}/url", service.url, faults)
    elif not _PYTHON.fullmatch(service.python):
        detail = f'is {found(service.python)}; expected "module:attribute"'
        faults.add(f"{pointer}/python", detail)
    if not 1 <= service.concurrency_max <= CONCURRENCY_MAX:
        detail = f"is {found(service.concurrency_max)}; expected 1 to {CONCURRENCY_MAX}"
        faults.add(f"{pointer}/maxConcurrency", detail)
    _check_rules(pointer, service, faults)
    for member in ("headers", "statuses"):
        if service.python and getattr(service, member):
            faults.add(f"{pointer}/{member}", "is for a service with a url only")
    _check_http(pointer, service, faults)


def _check_rules(pointer: str, service: ServiceConfig, faults: Faults) -> None:
    """Note what is wrong with how much the service is asked."""
    keys = {field.name: field.encode_name for field in fields(ServiceConfig)}
    for member in BOUNDS.keys() & keys.keys():
        complaint = BOUNDS[member].complaint(getattr(service, member))
        if complaint:
            faults.add(f"{pointer}/{keys[member]}", complaint)
    if service.rate_burst and not service.rate_limit_per_s:
        faults.add(f"{pointer}/rateBurst", "is for a service with a rateLimit only")


def _check_http(pointer: str, service: ServiceConfig, faults: Faults) -> None:
    for header, value in service.headers.items():
        if not _HEADER_NAME.fullmatch(header):
            faults.add(child(f"{pointer}/headers", header), "is no name of a header")
        elif not _HEADER_VALUE.fullmatch(value):
            detail = "has a value that no header can have; expected printable ASCII"
            faults.add(child(f"{pointer}/headers", header), detail)
    for status in service.statuses:
        if not re.fullmatch(r"[2-5][0-9][0-9]", status):
            detail = "is no status code; expected 200 to 599"
            faults.add(child(f"{pointer}/statuses", status), detail)


def _check_url(pointer: str, url: str, faults: Faults) -> None:
    """Refuse what is no base of addresses; a url with a password in it is not quoted."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        faults.add(pointer, f"is no url: {error}")
        return
    if "@" in parts.netloc:
        faults.add(pointer, "has a user in it; put an Authorization header into its headers")
    elif parts.scheme not in ("http", "https") or not has_host:
        faults.add(pointer, f"is {found(url)}; expected http://HOST or https://HOST")
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        faults.add(pointer, f"is {found(url)}; a query or fragment cannot be in it")


def _check_keys(keys: tuple[ApiKeyConfig, ...], faults: Faults) -> None:
    names: set[str] = set()
    hashes: set[str] = set()
    for at, key in enumerate(keys):
        pointer = f"/auth/keys/{at}"
        if not _NAME.fullmatch(key.name):
            detail = f"is {found(key.name)}; expected {limits.NAME_PATTERN}"
            faults.add(f"{pointer}/name", detail)
        elif key.name in names:
            faults.add(f"{pointer}/name", f"is {found(key.name)}, as another key's")
        if not _SHA256.fullmatch(key.sha256):
            detail = "is no SHA-256; expected the 64 lower-case hexadecimal digits that"
            faults.add(f"{pointer}/sha256", f"{detail} `sagakeep key new` prints")
        elif key.sha256 in hashes:
            faults.add(f"{pointer}/sha256", "is that of another key")
        names.add(key.name)
        hashes.add(key.sha256)


def _check_webhook(pointer: str, name: str, webhook: WebhookConfig, faults: Faults) -> None:
    if not _NAME.fullmatch(name):
        faults.add(pointer, f"is no name of a webhook; expected {limits.NAME_PATTERN}")
    _check_url(f"{pointer}/url", webhook.url, faults)
    if not webhook.secrets:
        faults.add(
            f"{pointer}/secrets", "is empty; expected one secret, or two while you change it"
        )
    for secret in webhook.secrets:
        try:
            secret_of(secret)
        except ConfigurationError as error:
            faults.add(f"{pointer}/secrets", str(error))
    for kind in webhook.types:
        if kind not in WEBHOOK_TYPES:
            detail = f"has {found(kind)}; expected some of {', '.join(WEBHOOK_TYPES)}"
            faults.add(f"{pointer}/types", detail)


def _check_alerts(thresholds: Thresholds, faults: Faults) -> None:
    bounds = {"stuck_after_s": STUCK_AFTER_S_MAX, "error_share": 1.0, "slow_s": SLOW_S_MAX}
    for field in fields(Thresholds):
        value: float = getattr(thresholds, field.name)
        if not 0 < value <= bounds[field.name]:
            wanted = f"expected above 0 to {bounds[field.name]:g}"
            faults.add(f"/alerts/{field.encode_name}", f"is {found(value)}; {wanted}")


def _check_retention(rules: tuple[RetentionRule, ...], faults: Faults) -> None:
    if len(rules) > RULES_MAX:
        faults.add("/retention", f"has {len(rules)} rules; expected at most {RULES_MAX}")
    for at, rule in enumerate(rules):
        _check_retention_rule(f"/retention/{at}", rule, faults)


def _check_retention_rule(pointer: str, rule: RetentionRule, faults: Faults) -> None:
    if rule.name and not _NAME.fullmatch(rule.name):
        faults.add(f"{pointer}/name", f"is {found(rule.name)}; expected {limits.NAME_PATTERN}")
    strange = [status for status in rule.status if status not in STATUSES]
    if strange or not rule.status:
        wanted = f"expected one or more of {', '.join(STATUSES)}"
        faults.add(f"{pointer}/status", f"has {found(strange[0]) if strange else 'none'}; {wanted}")
    if rule.keep_for_s is None and rule.keep_count is None:
        faults.add(pointer, "keeps everything for ever; expected keepFor, keepCount or both")
    if rule.keep_for_s is not None and not 0 <= rule.keep_for_s <= KEEP_S_MAX:
        detail = f"is {found(rule.keep_for_s)}; expected seconds, 0 to {KEEP_S_MAX:.0f}"
        faults.add(f"{pointer}/keepFor", detail)
    if rule.keep_count is not None and not 0 <= rule.keep_count <= KEEP_COUNT_MAX:
        detail = f"is {found(rule.keep_count)}; expected 0 to {KEEP_COUNT_MAX}"
        faults.add(f"{pointer}/keepCount", detail)


def _check_limits(bounds: Limits, faults: Faults) -> None:
    for field in fields(Limits):
        value: float = getattr(bounds, field.name)
        ceiling = _CEILINGS.get(field.name, _NUMBER_MAX)
        is_whole = field.type is int
        is_enough = value >= 1 if is_whole else value > 0
        if not is_enough or not value <= ceiling:
            least = "1" if is_whole else "above 0"
            detail = f"is {found(value)}; expected {least} to {ceiling:.0f}"
            faults.add(f"/limits/{field.encode_name}", detail)
