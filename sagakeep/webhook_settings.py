"""The webhooks of a configuration: from how each is reached to something that can be told."""

from __future__ import annotations

from collections.abc import Mapping

from sagakeep.http.poster import HttpPoster
from sagakeep.orchestrator import Webhook
from sagakeep.settings.config import WebhookConfig
from sagakeep.webhook import WebhookSpec
from sagakeep.webhook_secret import secret_of


def webhooks_of(configured: Mapping[str, WebhookConfig]) -> dict[str, Webhook]:
    """Make what tells each webhook; the configuration was checked."""
    return {name: _webhook(config) for name, config in configured.items()}


def _webhook(config: WebhookConfig) -> Webhook:
    spec = WebhookSpec(
        config.url,
        tuple(secret_of(text) for text in config.secrets),
        frozenset(config.types),
        frozenset(config.names),
        config.tags,
    )
    return Webhook(spec, HttpPoster(config.url))
