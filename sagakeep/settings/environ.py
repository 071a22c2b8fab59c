"""The environment as a source of settings: every key of the configuration has its variable.

    bind                                   SAGAKEEP_BIND
    grace                                  SAGAKEEP_GRACE
    hosts                                  SAGAKEEP_HOSTS                                one,another
    limits.diskReserveBytes                SAGAKEEP_LIMITS__DISK_RESERVE_BYTES
    services.payment.maxConcurrency        SAGAKEEP_SERVICES__PAYMENT__MAX_CONCURRENCY
    services.payment.headers.X-Api-Key     SAGAKEEP_SERVICES__PAYMENT__HEADERS__X_API_KEY
    auth.keys[0].sha256                    SAGAKEEP_AUTH__KEYS__0__SHA256

The rules: two underscores descend; `maxConcurrency` is written MAX_CONCURRENCY; a list is separated by
commas. A name that a person chose (of a service or a header) is matched without regard to case, and
whatever is no letter or digit in it reads as `_`. One that matches nothing in the file is new: a service
in lower case, a header in lower case with `-` for `_`. An array of tables is indexed from 0. A variable
that is empty is as good as not set. A variable that means nothing is refused, for it is a typing error;
but those that Kubernetes makes for a Service called sagakeep are ignored,
and those that say to commands which server to ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from sagakeep.faults import Faults
from sagakeep.settings.config import Config

VARIABLES_PREFIX: Final = "SAGAKEEP_"
FILE_VARIABLE: Final = "SAGAKEEP_CONFIG"  # names the file when the command line does not
CLIENT_VARIABLES: Final = frozenset({"SAGAKEEP_URL", "SAGAKEEP_TOKEN"})  # of who asks a server

_OF_KUBERNETES: Final = re.compile(r"SAGAKEEP_(SERVICE_HOST|(SERVICE_)?PORT(_\w+)?)")
_NEW_NAMES: Final[dict[str, Callable[[str], str]]] = {
    "services": str.lower,
    "webhooks": str.lower,
    "headers": lambda part: part.lower().replace("_", "-"),
    "statuses": str,
    "tags": str.lower,
}

Path = tuple[str | int, ...]


class Setting(NamedTuple):
    """One value: the keys and indexes on the way to it, and where it came from."""

    path: Path
    value: object
    origin: str


class _NoSetting(Exception):
    """A variable means no setting; the text says why."""


def read_environ(
    environ: Mapping[str, str], document: Mapping[str, object], faults: Faults
) -> Iterator[Setting]:
    """Yield what the environment sets; `document`, the file's, has the names that are known."""
    names = [name for name in environ if name.startswith(VARIABLES_PREFIX) and environ[name]]
    for name in sorted(names, key=_in_order_of_indexes):
        if name in (FILE_VARIABLE, *CLIENT_VARIABLES) or _OF_KUBERNETES.fullmatch(name):
            continue
        try:
            path, kind = _resolve(name, document, faults)
        except _NoSetting as error:
            faults.add(f"/{name}", str(error))
        else:
            yield Setting(path, _value_of(environ[name], kind), name)


def variable_part(key: str) -> str:
    """Write a key of the configuration as a part of a variable's name."""
    return re.sub(r"(?=[A-Z])", "_", key).upper()


def _in_order_of_indexes(name: str) -> list[tuple[int, str]]:
    return [(len(part), part) for part in name.split("__")]


def _resolve(name: str, document: object, faults: Faults) -> tuple[Path, Any]:
    """Return the path that a variable means and the type of what is there."""
    path: list[str | int] = []
    kind: Any = Config  # a type form, which has no type of its own
    for part in name.removeprefix(VARIABLES_PREFIX).split("__"):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            field = _field_of(kind, part, faults)
            key: str | int = field.encode_name
            kind = field.type
        elif get_origin(kind) is dict:
            key = _chosen_name(str(path[-1]), part, document)
            kind = get_args(kind)[1]
        elif _is_array_of_tables(kind):
            key = _index_of(part)
            kind = get_args(kind)[0]
        else:
            raise _NoSetting("goes deeper than any setting does")
        path.append(key)
        document = _inside(document, key)
    if _has_parts(kind):
        raise _NoSetting("names a table: add __ and the name of a setting in it")
    return tuple(path), kind


def _field_of(kind: type[msgspec.Struct], part: str, faults: Faults) -> FieldInfo:
    known = {variable_part(field.encode_name): field for field in fields(kind)}
    if part.upper() not in known:
        raise _NoSetting(f"no setting has the part {part!r}{faults.hint(part.upper(), known)}")
    return known[part.upper()]


def _chosen_name(table: str, part: str, document: object) -> str:
    """Return the name in the file that the part stands for, or else the new name it gives."""
    known = [str(name) for name in document] if isinstance(document, dict) else []
    matching = [name for name in known if re.sub(r"[^A-Z0-9]", "_", name.upper()) == part.upper()]
    if len(matching) > 1:
        raise _NoSetting(f"is ambiguous: it may mean {' or '.join(matching)}; use the file")
    if not part:
        raise _NoSetting("has a part without a name")
    return matching[0] if matching else _NEW_NAMES[table](part)


def _index_of(part: str) -> int:
    if not (part.isascii() and part.isdecimal() and len(part) < 4):
        raise _NoSetting(f"{part!r} should be the index of a table in an array: 0, 1, 2 ...")
    return int(part)


def _is_array_of_tables(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[0] is not str


def _has_parts(kind: Any) -> bool:
    is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return is_table or get_origin(kind) is dict or _is_array_of_tables(kind)


def _inside(document: object, key: str | int) -> object:
    if isinstance(document, dict):
        return document.get(key)
    if isinstance(document, list) and isinstance(key, int) and key < len(document):
        return document[key]
    return None


def _value_of(text: str, kind: Any) -> object:
    """Read a text as its type; one that does not fit stays a text, and is told as a fault later."""
    if get_origin(kind) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        return text
