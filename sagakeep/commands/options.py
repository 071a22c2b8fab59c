"""Options that commands share: which server is asked, and how the answer is printed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import IO, TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

import click

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

URL_VARIABLE: Final = "SAGAKEEP_URL"
TOKEN_VARIABLE: Final = "SAGAKEEP_TOKEN"
DEFAULT_URL: Final = "http://127.0.0.1:8080"

P = ParamSpec("P")

_URL: Final = click.option(
    "--url",
    envvar=URL_VARIABLE,
    default=DEFAULT_URL,
    show_default=True,
    help=f"The server: http://HOST:PORT, https://... or unix:PATH; or {URL_VARIABLE}.",
)
_TOKEN: Final = click.option(
    "--token-file",
    type=click.File("r"),
    help=f"Has the key of `sagakeep key new`; {TOKEN_VARIABLE} has it, too.",
)
JSON_OPTION: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; the default where no terminal is."
)
DATA_OPTION: Final = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True),
    help="Read this data directory, and ask no server.",
)
STATUS_OPTION: Final = click.option("--status", default="", help="Only sagas in this status.")
_NAME: Final = click.option("--name", default="", help="Only sagas of this name.")
_TAGS: Final = click.option(
    "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only sagas so tagged."
)
_SINCE: Final = click.option(
    "--since", default="", metavar="TIME|AGO", help="Created then or later: a time, or 30m, 2h, 7d."
)
REASON_OPTION: Final = click.option(
    "--reason", default="", help="Why; it is kept in the saga's history."
)


def takes_filters(command: Callable[P, None]) -> Callable[P, None]:
    """Give a command the options that say which sagas, for `sagakeep.commands.source` to understand."""
    return _NAME(_TAGS(_SINCE(command)))


def asks_server(command: Callable[Concatenate[Client, P], None]) -> Callable[P, None]:
    """Give a command the options that say which server, and the client as its first argument."""

    @_URL
    @_TOKEN
    @wraps(command)
    def run(*args: Any, url: str, token_file: IO[str] | None, **words: Any) -> None:
        import os

        from sagakeep.commands.client import Client

        token = token_file.read() if token_file else os.environ.get(TOKEN_VARIABLE, "")
        command(Client(url, token.strip()), *args, **words)

    return run  # type: ignore[return-value] # click passes all by name
