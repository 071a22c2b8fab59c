"""Make one attempt of a call at a service over HTTP, and say what it taught us.

    POST {url}/{action}     body: the payload     reply: the result, or why not

What is known decides, never what is likely (specification, 4.1):

    2xx                            done; an empty body is a result of None
    2xx whose body is not JSON     unknown: it may have happened
    408, 425                       unknown
    409 with Retry-After           unknown: an earlier attempt may still be at work
    429; 503 with Retry-After      not_done, retryable, not before the service's wish
    any other 4xx                  not_done, permanent
    1xx, 3xx, any other 5xx        unknown; a redirect is not followed, for a service may well
                                   redirect after the deed (303)
    no connection was made         not_done, retryable: refused, unknown name, no route, bad TLS
    the connect timeout            unknown, as any timeout
    a reset, a cut, a broken or an
    oversized reply                unknown, whatever its status was

An operator overrides the table by status code. `Retry-After` of a reply that may be retried is
passed on whatever the outcome; a date is read against the reply's own `Date`, so that two clocks
that differ do not matter.

The client (pyqwest, that is reqwest and hyper) is told to do nothing on its own: no redirects, no
cookies, no decompression, HTTP/1.1 only, and no proxy of the environment. That last one has no
switch; but an explicit rule replaces the environment's, so a rule for the scheme which this service
does not have means none. hyper sends a request again only when a pooled connection closed before
any of it was sent. All of it is tested against real sockets.

There is no timeout but that of the connect: the gateway bounds the attempt, and cancelling it
closes its connection.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec
import trio
from pyqwest import (
    ConnectTimeout,
    Headers,
    HTTPTransport,
    HTTPVersion,
    Proxy,
    ReadError,
    RemoteProtocolError,
    Request,
    Response,
    WriteError,
)

from sagakeep import limits
from sagakeep.classification import (
    CONNECT_TIMEOUT,
    CONNECTION_BROKE,
    LATER,
    NO_CONNECTION,
    NO_REQUEST,
    REFUSED,
    UNKNOWN,
    StatusRule,
    broken_rule,
    http_rule,
    judgement_of,
)
from sagakeep.errors import ConfigurationError
from sagakeep.redaction import SECRET_CHARS_MIN, scrub, secrets_of
from sagakeep.reply import ReplyBroken, error_text, parse_reply
from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.trace import TraceContext, attempt_span_id, trace_id_of, traceparent_of

CONNECT_S_MAX: Final = 10.0  # a service that is up answers a connect at once
IDLE_S_MAX: Final = (
    4.0  # below the 5 s after which many servers close: each race would be an unknown
)
TOKEN_CHARS_MIN: Final = (
    8  # of a word of a header that is taken for a credential: longer than "Bearer"
)
_DETAIL_CHARS_MAX: Final = 200  # of a reply that is not a problem document
_TOO_LONG: Final = f"the reply has more than {limits.REPLY_BYTES_MAX} bytes"
_encode: Final = msgspec.json.Encoder().encode
_RESET: Final = "Connection reset"  # unknown whenever it comes, also where the connect notices it
_FOR_URL: Final = re.compile(r"Request failed: |error sending request for url \([^)]*\): ")


class HttpCaller:
    """A service behind a URL.

    `headers` go with every request (a token, say) and never replace those of the protocol. Raises
    ConfigurationError for a URL or a header that cannot be used.
    """

    late_reply_s = limits.LATE_REPLY_S

    def __init__(
        self,
        url: str,
        *,
        connections_max: int,
        status_outcomes: Mapping[int, StatusRule] | None = None,
        headers: Mapping[str, str] | None = None,
        connect_s_max: float = CONNECT_S_MAX,
        utc_now: Callable[[], float] = time.time,
    ) -> None:
        self._url = _checked_url(url)
        self._rules = dict(status_outcomes or {})
        self._headers = _fixed_headers(headers or {})
        self._credentials = _credentials(headers or {})
        self._utc_now = utc_now
        self._slots = trio.Semaphore(connections_max)  # the client's own bound lets a burst through
        self._transport = transport_for(self._url, connections_max, connect_s_max)

    async def attempt(self, call: Call) -> AttemptResult:
        """Send the request once; what goes wrong is an outcome."""
        try:
            request = self._request(call)
        except (TypeError, ValueError, RecursionError) as error:
            return self._failed(REFUSED, f"the request cannot be made: {error}", NO_REQUEST, call)
        try:
            async with self._slots:
                response = await self._transport.execute(request)
                async with response:
                    body = await _body(response)
        except ConnectTimeout:
            return self._failed(UNKNOWN, "timeout while connecting", CONNECT_TIMEOUT, call)
        except ConnectionError as error:  # pyqwest raises it for the connect only
            is_reset = _RESET in str(error)
            rule, name = (UNKNOWN, CONNECTION_BROKE) if is_reset else (LATER, NO_CONNECTION)
            failed = self._failed(rule, f"no connection: {reason_of(error)}", name, call)
            return msgspec.structs.replace(failed, is_unreachable=True)
        except ReplyBroken as error:
            status = response.status
            return self._failed(UNKNOWN, f"HTTP {status}: {error}", broken_rule(status), call)
        except (OSError, ReadError, WriteError, RemoteProtocolError, RuntimeError) as error:
            what = f"the connection broke: {reason_of(error)}"
            return self._failed(UNKNOWN, what, CONNECTION_BROKE, call)
        return self._learned(response, body, call)

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._transport.aclose()

    def _request(self, call: Call) -> Request:
        headers = [
            *self._headers,
            ("idempotency-key", call.idempotency_key),
            ("saga-id", call.saga_id),
            ("saga-name", call.saga_name),
            ("saga-step", call.step_id),
            ("saga-attempt", str(call.attempt)),
            ("saga-phase", call.phase),
        ]
        if call.phase == "compensation" and call.outcome is not None:
            headers.append(("saga-step-outcome", call.outcome.value))
        if call.phase != "action" and call.action_key:
            headers.append(("saga-action-key", call.action_key))
        headers.append(("traceparent", call.traceparent or _new_traceparent(call)))
        url = f"{self._url}/{quote(call.action, safe='')}"
        return Request("POST", url, Headers(headers), _encode(call.payload))

    def _learned(self, response: Response, body: bytearray, call: Call) -> AttemptResult:
        status = response.status
        retry_after_s = _retry_after_s(response.headers, self._utc_now)
        has_retry_after = retry_after_s is not None
        rule = self._rules.get(status) or judgement_of(status, has_retry_after).rule
        if rule.outcome is not Outcome.DONE:
            error = _complaint(status, body, self._secrets(call))
            name = http_rule(
                status, has_retry_after=has_retry_after, is_configured=status in self._rules
            )
            return self._failed(rule, error, name, call, None if rule.permanent else retry_after_s)
        try:
            return AttemptResult(Outcome.DONE, parse_reply(body) if body else None)
        except ReplyBroken as error:
            return self._failed(UNKNOWN, f"HTTP {status}: {error}", broken_rule(status), call)

    def _failed(
        self,
        rule: StatusRule,
        error: str,
        name: str,
        call: Call,
        retry_after_s: float | None = None,
    ) -> AttemptResult:
        return AttemptResult(
            rule.outcome,
            error=error_text(error, self._secrets(call)),
            permanent=rule.permanent,
            retry_after_s=retry_after_s,
            rule=name,
        )

    def _secrets(self, call: Call) -> tuple[str, ...]:
        """What a service may repeat and nobody may be shown: our credentials, and what is sensitive."""
        return (*self._credentials, *secrets_of((call.payload, call.result), call.sensitive))


def _new_traceparent(call: Call) -> str:
    """Make a W3C trace context where the client gave none: a trace for each saga, a span for each attempt.

    Sampled, for the services decide.
    """
    trace_id = trace_id_of(call.saga_id, "")
    return traceparent_of(TraceContext(trace_id, attempt_span_id(call), is_sampled=True))


async def _body(response: Response) -> bytearray:
    """Read the body; one of known length is not asked for its end, which would cost a third more."""
    length = _content_length(response.headers)
    if length is not None and length > limits.REPLY_BYTES_MAX:
        raise ReplyBroken(_TOO_LONG)
    body = bytearray()
    if length == 0:
        return body
    async for chunk in response.content:
        body += chunk
        if len(body) > limits.REPLY_BYTES_MAX:
            raise ReplyBroken(_TOO_LONG)
        if len(body) == length:
            break
    return body


def _content_length(headers: Headers) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else None


def _retry_after_s(headers: Headers, utc_now: Callable[[], float]) -> float | None:
    """Read Retry-After: seconds from now, 0 to RETRY_AFTER_S_MAX; None when absent or nonsense."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        wish_s = float(value)
    else:
        at_utc_s = _date_utc_s(value)
        if at_utc_s is None:
            return None
        wish_s = at_utc_s - (_date_utc_s(headers.get("date", "")) or utc_now())
    return min(max(wish_s, 0.0), limits.RETRY_AFTER_S_MAX)


def _date_utc_s(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, OverflowError):
        return None


def _complaint(status: int, body: bytearray, secrets: Collection[str]) -> str:
    """Say what the service says is wrong: a problem document's words, else how its text begins."""
    try:
        document = parse_reply(body)
    except ReplyBroken:
        document = None
    if isinstance(document, dict):
        words = [document.get(member) for member in ("detail", "title")]
        detail = next((word for word in words if isinstance(word, str) and word), "")
        if detail:
            return f"HTTP {status}: {detail}"
    if 300 <= status < 400:
        return f"HTTP {status}: a redirect is not followed"
    whole = scrub(
        body.decode("utf-8", "replace"), secrets
    )  # before it is cut: half a secret is one
    text = whole[:_DETAIL_CHARS_MAX].strip()
    return f"HTTP {status}: {text or _phrase(status)}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def reason_of(error: Exception) -> str:
    """Shorten the client's words; without the URL, which people know by the service's name."""
    return _FOR_URL.sub("", str(error)) or type(error).__name__


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"service url {url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"service url {url!r}: want http://HOST or https://HOST")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("service url: no user, query or fragment may be in it")
    return url.rstrip("/")


def _fixed_headers(extra: Mapping[str, str]) -> list[tuple[str, str]]:
    """Join the operator's headers and those of every request; the latter win."""
    fixed = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "sagakeep",
    }
    reserved = {*fixed, "idempotency-key", "traceparent", "content-length", "transfer-encoding"}
    reserved -= {"user-agent"}
    for name in extra:
        if name.lower() in reserved or name.lower().startswith("saga-"):
            raise ConfigurationError(f"service header {name!r} is set by sagakeep itself")
    merged = fixed | {name.lower(): value for name, value in extra.items()}
    try:
        return list(Headers(merged.items()).items())
    except (TypeError, ValueError):
        raise ConfigurationError(f"service headers {sorted(extra)}: not an HTTP header") from None


def _credentials(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the operator's headers, and their words: a token without its scheme."""
    values = {value for value in headers.values() if len(value) >= SECRET_CHARS_MIN}
    words = {word for value in values for word in value.split() if len(word) >= TOKEN_CHARS_MIN}
    return tuple(sorted(values | words, key=len, reverse=True))


def transport_for(url: str, connections_max: int, connect_s_max: float) -> HTTPTransport:
    other_scheme: Final = "http" if url.startswith("https:") else "https"
    return HTTPTransport(
        tls_include_system_certs=url.startswith("https:"),
        http_version=HTTPVersion.HTTP1,
        proxy=Proxy("http://127.0.0.1:9", scheme=other_scheme),  # never used: see the top
        connect_timeout=connect_s_max,
        pool_idle_timeout=IDLE_S_MAX,
        pool_max_idle_per_host=connections_max,
        max_connections_per_address=connections_max,
        enable_gzip=False,
        enable_brotli=False,
        enable_zstd=False,
        use_system_dns=True,
        enable_cookie_store=False,
        follow_redirects=False,
        enable_otel=False,
    )
