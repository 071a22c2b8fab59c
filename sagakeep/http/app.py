"""App: the application that serves the table of routes; `sagakeep.http.edge` goes around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sagakeep.http.auth import DASHBOARD
from sagakeep.http.dashboard import Dashboard
from sagakeep.http.handlers import Handler
from sagakeep.http.problems import EXCEPTION_HANDLERS
from sagakeep.http.routes import ROUTES
from sagakeep.http.schema import openapi_document
from sagakeep.orchestrator import Orchestrator


@dataclass(frozen=True)
class _Resource:
    """One path: its methods. It answers to all, so that `DELETE .../stats` is no DELETE of a saga."""

    methods: Mapping[str, Handler]
    orchestrator: Orchestrator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in self.methods:
            raise HTTPException(405, headers={"Allow": self.allow})
        response = await self.methods[method](self.orchestrator, Request(scope, receive, send))
        await response(scope, receive, send)

    @property
    def allow(self) -> str:
        head = ["HEAD"] if "GET" in self.methods else []
        return ", ".join(sorted([*self.methods, *head]))


def make_app(orchestrator: Orchestrator, *, is_keyed: bool = False) -> Starlette:
    """Compose the application around an orchestrator, which runs elsewhere.

    `is_keyed` goes into the document: who asks for keys is around the application.
    """
    paths: dict[str, dict[str, Handler]] = {}
    for operation in ROUTES:
        paths.setdefault(operation.path, {})[operation.method] = operation.handler
    routes = [Route(path, _Resource(methods, orchestrator)) for path, methods in paths.items()]
    dashboard = Dashboard()
    routes += [Route(path, dashboard) for path in ("/", DASHBOARD, DASHBOARD + "/{page:path}")]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    app.state.openapi = msgspec.json.encode(openapi_document(ROUTES, is_keyed=is_keyed))
    return app
