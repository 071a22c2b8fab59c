"""Make one attempt of a call at a service that is a Python object in this process."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from sagakeep import limits
from sagakeep.classification import (
    EXCEPTION,
    RESULT_BROKEN,
    SERVICE_REFUSED,
    SERVICE_UNAVAILABLE,
)
from sagakeep.log_fields import fields_of_call
from sagakeep.redaction import secrets_of
from sagakeep.reply import ReplyBroken, error_text, keep_reply
from sagakeep.service import AttemptResult, Call, Outcome, ServiceRefused, ServiceUnavailable

_log: Final = logging.getLogger(__name__)

_NOTHING: Final = AttemptResult(Outcome.DONE)
_ENDS: Final = (SystemExit, asyncio.CancelledError)  # meant for a program, or a loop, of its own


class PythonCaller:
    """A service whose actions are the public methods of an object.

    A coroutine method runs on the loop and must not block it; a plain method runs in a thread, at
    most `threads_max` at a time. A cancelled attempt ends a coroutine at its next checkpoint. A
    thread cannot be ended: it is left to itself, keeps its place, and nobody hears what it says; the
    next attempt of its call may overlap with it.
    """

    late_reply_s = 0.0  # a cancelled attempt gives no answer

    def __init__(self, service: object, *, threads_max: int = limits.SERVICE_CONCURRENCY) -> None:
        self._service = service
        self._threads = trio.CapacityLimiter(threads_max)
        self._methods: dict[str, Callable[[Call], Awaitable[object]]] = {}

    async def attempt(self, call: Call) -> AttemptResult:
        """Call the method once; what it raises is an outcome."""
        try:
            method = self._methods.get(call.action) or self._find(call.action)
            value = await method(call)
            return _NOTHING if value is None else AttemptResult(Outcome.DONE, keep_reply(value))
        except ServiceRefused as error:
            return AttemptResult(
                Outcome.NOT_DONE, error=_text(error, call), permanent=True, rule=SERVICE_REFUSED
            )
        except ServiceUnavailable as error:
            wish_s = _wish_s(error.retry_after_s)
            return AttemptResult(
                Outcome.NOT_DONE,
                error=_text(error, call),
                retry_after_s=wish_s,
                is_unreachable=wish_s is None,  # one that asks us to come later is there
                rule=SERVICE_UNAVAILABLE,
            )
        except ReplyBroken as error:
            return AttemptResult(Outcome.UNKNOWN, error=_text(error, call), rule=RESULT_BROKEN)
        except Exception as error:  # the service's bug is an outcome
            return _bug(error, call)
        except _ENDS as error:
            return _bug(error, call)

    async def aclose(self) -> None:
        """Close the service, if it has an `aclose`."""
        aclose = getattr(self._service, "aclose", None)
        if aclose is not None:
            closing = aclose()
            if inspect.isawaitable(closing):
                await closing

    def _find(self, action: str) -> Callable[[Call], Awaitable[object]]:
        """Look a method up, once: the methods found are as many as the service has."""
        method = None if action.startswith("_") else getattr(self._service, action, None)
        if not callable(method) or action == "aclose":
            raise ServiceRefused(f"{type(self._service).__name__} has no action {action!r}")
        self._methods[action] = method if _is_async(method) else self._in_thread(method)
        return self._methods[action]

    def _in_thread(self, method: Callable[[Call], object]) -> Callable[[Call], Awaitable[object]]:
        async def run(call: Call) -> object:
            return await trio.to_thread.run_sync(
                method, call, limiter=self._threads, abandon_on_cancel=True
            )

        return run


def _is_async(method: Callable[..., object]) -> bool:
    called = getattr(type(method), "__call__", None)  # noqa: B004 - of an object with async __call__
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(called)


def _bug(error: BaseException, call: Call) -> AttemptResult:
    _log_bug(error, call)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    error_of_it = error_text(text, _secrets(call))
    return AttemptResult(Outcome.UNKNOWN, error=error_of_it, rule=EXCEPTION)


def _log_bug(error: BaseException, call: Call) -> None:
    """Log where it was raised, and its words unless they may repeat what is sensitive."""
    fields = fields_of_call(call)
    if not call.sensitive:
        _log.error("service %s: %s", call.service, call.action, exc_info=error, extra=fields)
        return
    trace = "".join(traceback.format_tb(error.__traceback__))
    what = f"{type(error).__name__}, whose words may be sensitive"
    text = "service %s: %s raised %s\n%s"
    _log.error(text, call.service, call.action, what, trace, extra=fields)


def _text(error: Exception, call: Call) -> str:
    return error_text(str(error) or type(error).__name__, _secrets(call))


def _secrets(call: Call) -> tuple[str, ...]:
    return secrets_of((call.payload, call.result), call.sensitive)


def _wish_s(retry_after_s: object) -> float | None:
    if not isinstance(retry_after_s, int | float) or retry_after_s != retry_after_s:
        return None
    return float(min(max(retry_after_s, 0), limits.RETRY_AFTER_S_MAX))
