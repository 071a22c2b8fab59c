"""Serve: a whole process, from a configuration to an orderly end.

    signals          the first begins the end, the second ends at once
    orchestrator     the sagas: journal, registry, gateways, in a nursery of its own
    `-- http         a sibling of the sagas: it is restarted when it fails, and cancels nothing of theirs

The order of the end: no connection is accepted and no new saga taken; attempts in flight may end within the
grace period; the journal is flushed and closed. A journal that breaks ends everything: the next start
reads what the disk has.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio
from starlette.types import ASGIApp

from sagakeep.actors.engine import Ports
from sagakeep.bind import Bind, parse_bind
from sagakeep.demo.services import demo_services
from sagakeep.http.app import make_app
from sagakeep.http.auth import ApiKey, Role
from sagakeep.http.edge import edge
from sagakeep.http.server import ServerLimits, serve_http
from sagakeep.orchestrator import Orchestrator, opening_orchestrator
from sagakeep.process import keep_no_core, room_for_connections
from sagakeep.runtime.collector import collect_at_rest, turn_collector_off
from sagakeep.runtime.resident import give_large_blocks_back
from sagakeep.services import make_services
from sagakeep.settings.config import Config
from sagakeep.telemetry import Telemetry, telemetry_of
from sagakeep.webhook_settings import webhooks_of

RESTART_S: Final = 1.0  # between the end of a server that failed and the next one
CLOSE_S_MAX: Final = 2.0  # for replies that are still being sent when all sagas are at rest
TELEMETRY_S_MAX: Final = 6.0  # for spans that wait when all sagas are at rest
_log: Final = logging.getLogger(__name__)


async def serve(config: Config, *, demo: bool, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is called once, with one line, when all is up.

    Raises ConfigurationError, JournalLocked, JournalCorrupt, JournalBroken and their like, perhaps in
    a group.
    """
    keep_no_core()
    bind = parse_bind(config.bind)
    services: dict[str, object] = dict(make_services(config.services))
    if demo:
        services = {**demo_services(config.data), **services}
    if not services:
        _log.warning("no service is configured: every saga will be refused")
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop)
        async with (
            _telemetry() as tracer,
            opening_orchestrator(
                config.data,
                services,
                Ports(tracer=tracer),
                thresholds=config.alerts,
                retention=config.retention,
                webhooks=webhooks_of(config.webhooks),
            ) as orchestrator,
        ):
            await _serve_until(stop, orchestrator, config, bind, announce)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _telemetry() -> AsyncIterator[Telemetry | None]:
    """Send traces if the environment asks for them; at the end those that wait, for TELEMETRY_S_MAX at most."""
    telemetry = telemetry_of(os.environ)
    try:
        yield telemetry
    finally:
        if telemetry is not None:
            with trio.move_on_after(TELEMETRY_S_MAX, shield=True):
                await trio.to_thread.run_sync(telemetry.close, abandon_on_cancel=True)


async def _watch_signals(
    stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if stop.is_set():
                _log.warning("%s again: ending at once; the journal is as after a kill", name)
                logging.shutdown()
                os._exit(1)
            _log.info("%s: stopping when running attempts have ended", name)
            stop.set()


async def _serve_until(
    stop: trio.Event,
    orchestrator: Orchestrator,
    config: Config,
    bind: Bind,
    announce: Callable[[str], None],
) -> None:
    """Serve an orchestrator over HTTP; when told to stop, let both come to rest."""
    http_stopping, http_stopped = trio.Event(), trio.Event()
    app = _app(orchestrator, config, bind)

    async def serve_app(task_status: trio.TaskStatus[list[str]]) -> None:
        await keep_serving(app, bind, config, http_stopping, task_status)
        http_stopped.set()

    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(serve_app)
        _log.info("listening on %s, recovering", ", ".join(addresses))
        nursery.start_soon(_announce, orchestrator, config, addresses, announce)
        turn_collector_off()
        give_large_blocks_back()
        nursery.start_soon(collect_at_rest, orchestrator.is_at_rest)
        await stop.wait()
        http_stopping.set()
        await orchestrator.drain(config.grace_s)
        with trio.move_on_after(CLOSE_S_MAX):
            await http_stopped.wait()
        nursery.cancel_scope.cancel()


async def _announce(
    orchestrator: Orchestrator,
    config: Config,
    addresses: list[str],
    announce: Callable[[str], None],
) -> None:
    await orchestrator.wait_recovered()
    count = orchestrator.recovery.live if orchestrator.recovery else 0
    sagas = "1 saga" if count == 1 else f"{count} sagas"
    where = " and ".join(addresses)
    announce(f"sagakeep listening on {where} (data {config.data}, {sagas} recovered)")


def _app(orchestrator: Orchestrator, config: Config, bind: Bind) -> ASGIApp:
    bound = f"[{bind.host}]" if ":" in bind.host else bind.host
    return edge(
        make_app(orchestrator, is_keyed=bool(config.auth.keys)),
        hosts=[*config.hosts, *([bound] if bound else [])],
        keys=[ApiKey(key.name, key.sha256, Role(key.role)) for key in config.auth.keys],
        body_bytes_max=config.limits.body_bytes_max,
        batch_bytes_max=config.limits.batch_bytes_max,
        bodies_bytes_max=config.limits.bodies_bytes_max,
        body_s_max=config.limits.body_s_max,
    )


async def keep_serving(
    app: ASGIApp,
    bind: Bind,
    config: Config,
    stopping: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stopping`; a server that fails once it has listened is started again, for ever."""
    server_limits = _server_limits(config)
    listened = _Listened(bind, task_status)
    while not stopping.is_set():
        try:
            await serve_http(
                app,
                listened.bind,
                stopping=stopping,
                grace_s=config.grace_s,
                server_limits=server_limits,
                task_status=listened,
            )
        except Exception:  # the shell of the HTTP tree: nothing in it may end the sagas
            if not listened.once:
                raise
            _log.exception("the HTTP server failed and is started again")
            with trio.move_on_after(RESTART_S):
                await stopping.wait()


def _server_limits(config: Config) -> ServerLimits:
    """Bound the connections by the configuration, and by what the system lets us open.

    Where that is less, one client gets no more than half of it.
    """
    bounds = config.limits
    calls = sum(service.concurrency_max for service in config.services.values() if service.url)
    connections = room_for_connections(bounds.connections_max, calls)
    share = bounds.connections_per_client_max
    if connections < bounds.connections_max:
        share = min(share, connections // 2)
    return ServerLimits(
        connections_max=connections,
        connections_per_client_max=share,
        headers_s_max=bounds.headers_s_max,
        write_stall_s_max=bounds.write_stall_s_max,
    )


class _Listened(trio.TaskStatus[list[str]]):
    """Passes on the addresses of the first server; the next ones get its port, if it had a free one."""

    def __init__(self, bind: Bind, first: trio.TaskStatus[list[str]]) -> None:
        self.bind = bind
        self.once = False
        self._first = first

    def started(self, value: list[str] | None = None) -> None:
        if self.once or value is None:
            return
        self.once = True
        if not self.bind.path and not self.bind.port:
            port = int(value[0].rpartition(":")[2])
            self.bind = msgspec.structs.replace(self.bind, port=port)
        self._first.started(value)
