"""Webhooks: what is told to somebody else's URL, and how it is signed. Pure: no clock, no I/O.

The body is a CloudEvent (1.0, structured JSON); the signature that of the Standard Webhooks specification:

    webhook-id: ID                        the same for every attempt, so that a receiver knows what it has seen
    webhook-timestamp: SECONDS            of this attempt
    webhook-signature: v1,BASE64          HMAC-SHA256 of "ID.SECONDS.BODY", one for each secret
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from sagakeep.alert import Alert
from sagakeep.state import SagaState, SagaStatus
from sagakeep.view import alert_view, time_view

MEDIA_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SAGA_TYPE: Final = "sagakeep.saga."  # and the status, as in `sagakeep.saga.completed`
RAISED: Final = "sagakeep.alert.raised"
ENDED: Final = "sagakeep.alert.ended"
TOLD: Final = frozenset(
    {
        SagaStatus.COMPLETED,
        SagaStatus.COMPENSATED,
        SagaStatus.FAILED,
        SagaStatus.COMPENSATION_FAILED,
        SagaStatus.ABANDONED,
    }
)
TYPES: Final = frozenset({RAISED, ENDED, *(SAGA_TYPE + status for status in TOLD)})
_LATER: Final = frozenset({408, 425, 429})  # as the 5xx, they are of the receiver, not of the event


class WebhookSpec(msgspec.Struct, frozen=True):
    """Where events go. Empty filters want everything; `secrets` sign each event.

    `tags` are of a saga, and all of them must be there.
    """

    url: str
    secrets: tuple[bytes, ...]
    types: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    tags: Mapping[str, str] = {}

    def wants(self, state: SagaState) -> bool:
        """Is this saga, which has just come to this status, to be told?"""
        definition = state.definition
        return (
            state.status in TOLD
            and not state.deleted
            and (not self.types or SAGA_TYPE + state.status in self.types)
            and (not self.names or definition.name in self.names)
            and all(definition.tags.get(key) == value for key, value in self.tags.items())
        )

    def wants_alert(self, *, is_raised: bool) -> bool:
        """Is an alert to be told? It has no saga's name or tag."""
        return not self.types or (RAISED if is_raised else ENDED) in self.types

    def __repr__(self) -> str:
        return f"WebhookSpec({self.url!r}, {len(self.secrets)} secrets)"


class Posted(NamedTuple):
    """What became of one attempt: a status, or 0 and why there was none."""

    status: int
    error: str = ""

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Is it this event that the receiver does not want, rather than a receiver that is not well?"""
        return 300 <= self.status < 500 and self.status not in _LATER


class Message(msgspec.Struct, frozen=True):
    """One event on its way: its id, and the body, which is the same at every attempt.

    What has the same `subject` is told in order.
    """

    id: str
    subject: str
    at_utc_s: float
    body: bytes

    @property
    def is_of_saga(self) -> bool:
        """Is its subject a saga? Else it is an alert."""
        return self.id.startswith(f"{self.subject}.")


def headers_of(message: Message, secrets: Sequence[bytes], now_utc_s: int) -> dict[str, str]:
    """The headers of one attempt."""
    signed = b"%s.%d.%s" % (message.id.encode(), now_utc_s, message.body)
    signatures = [
        "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        for secret in secrets
    ]
    return {
        "content-type": MEDIA_TYPE,
        "webhook-id": message.id,
        "webhook-timestamp": str(now_utc_s),
        "webhook-signature": " ".join(signatures),
    }


def source_of(journal_uuid: str) -> str:
    """Where events come from, as CloudEvents want it: the journal, for life."""
    return f"sagakeep/{journal_uuid}"


def saga_message(state: SagaState, source: str) -> Message:
    """Tell that a saga has come to rest; its id is that of the event in the saga's history."""
    data = {
        "id": state.id,
        "name": state.definition.name,
        "status": state.status,
        "reason": state.reason,
        "tags": state.definition.tags,
        "createdAt": time_view(state.created_at_utc_s),
        "updatedAt": time_view(state.updated_at_utc_s),
        "href": f"/api/sagas/{state.id}",
    }
    extension = {"traceparent": state.traceparent} if state.traceparent else {}
    return _message(
        f"{state.id}.{state.sequence}",
        SAGA_TYPE + state.status,
        source,
        state.id,
        state.updated_at_utc_s,
        data,
        extension,
    )


def alert_message(alert: Alert, at_utc_s: float, source: str, *, is_raised: bool) -> Message:
    """Tell that an alert was raised, or has ended."""
    trouble = alert.trouble
    kind = RAISED if is_raised else ENDED
    name = f"{trouble.rule}.{trouble.subject}" if trouble.subject else trouble.rule
    message_id = f"alert.{name}.{alert.since_utc_s:.6f}.{kind.rpartition('.')[2]}"
    return _message(message_id, kind, source, name, at_utc_s, alert_view(alert), {})


def _message(
    message_id: str,
    kind: str,
    source: str,
    subject: str,
    at_utc_s: float,
    data: object,
    extension: dict[str, str],
) -> Message:
    event = {
        "specversion": "1.0",
        "id": message_id,
        "source": source,
        "type": kind,
        "subject": subject,
        "time": time_view(at_utc_s),
        "datacontenttype": "application/json",
        **extension,
        "data": data,
    }
    return Message(message_id, subject, at_utc_s, msgspec.json.encode(event))
