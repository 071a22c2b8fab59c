"""Settings: a configuration, and where each of its values came from.

    defaults  <  file (TOML)  <  environment (SAGAKEEP_...)  <  command line

The sources are laid over each other as one document, each value with its origin; then the document is
read as a `Config`. All faults are told at once, each with its key, its origin, what was found and what
is allowed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from sagakeep.conversion import read_struct
from sagakeep.errors import ConfigurationError, Fault, InvalidDefinition
from sagakeep.faults import Faults
from sagakeep.pointer import child, tokens_of
from sagakeep.settings.config import Config
from sagakeep.settings.environ import FILE_VARIABLE, Path, Setting, read_environ
from sagakeep.settings.rules import check_config, check_secrets

DEFAULT: Final = "default"
FILE_BYTES_MAX: Final = 1 << 20

_SECRET: Final = re.compile(
    r"/services/[^/]*/headers/.*|/auth/keys/[0-9]+/sha256|/webhooks/[^/]*/secrets"
)


class Settings(NamedTuple):
    """A configuration; `origins` says by JSON Pointer where a value came from, unless by default."""

    config: Config
    origins: Mapping[str, str]


def load_config(
    path: str | None, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> Config:
    """Read the configuration as `read_settings` does."""
    return read_settings(path, environ, overrides).config


def read_settings(
    path: str | None, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> Settings:
    """Read the configuration of this file, environment and command line.

    Without `path` the file is the one that SAGAKEEP_CONFIG names, if any. `overrides` are top-level
    keys that have an option of the same name. Raises ConfigurationError, which lists every fault.
    """
    path = path or environ.get(FILE_VARIABLE, "")
    document = _read_file(path) if path else {}
    origins = dict.fromkeys(_leaves(document, ""), path)
    faults = Faults()
    try:
        for setting in read_environ(environ, document, faults):
            if not _lay(document, origins, setting):
                detail = "fits nowhere: a table is missing before it, or the file has none there"
                faults.add(f"/{setting.origin}", detail)
        for key, value in overrides.items():
            _lay(document, origins, Setting((key,), value, f"--{key}"))
        check_secrets(document, faults)
        config = read_struct(Config, document, faults)
        check_config(config, faults)
        faults.raise_any()
    except InvalidDefinition as error:
        raise ConfigurationError(_listed(error.faults, origins)) from None
    return Settings(config, origins)


def origin_of(pointer: str, origins: Mapping[str, str]) -> str:
    """Say where the value at a pointer came from."""
    if pointer in origins:
        return origins[pointer]
    outside = pointer.rpartition("/")[0]
    return origin_of(outside, origins) if outside else DEFAULT


def rows_of(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the value as TOML would have it, and the origin of every setting; secrets are masked."""
    document: object = msgspec.to_builtins(settings.config)
    for pointer in _leaves(document, ""):
        value = document
        for token in tokens_of(pointer) or ():
            value = value[token] if isinstance(value, dict) else _item(value, token)
        shown = '"***"' if _SECRET.fullmatch(pointer) else json.dumps(value)
        yield key_of(pointer), shown, origin_of(pointer, settings.origins)


def _item(value: object, index: str) -> object:
    assert isinstance(value, list | tuple), "a pointer leads through tables and arrays"
    return value[int(index)]


def key_of(pointer: str) -> str:
    """Write a pointer as the key is written in TOML, and an index in brackets."""
    key = ""
    for token in tokens_of(pointer) or ():
        if token.isdecimal() and key in ("auth.keys", "hosts", "retention"):
            key += f"[{token}]"
        else:
            is_bare = token.isascii() and token.replace("-", "").replace("_", "").isalnum()
            key += f".{token}" if is_bare else f'."{token}"'
        key = key.removeprefix(".")
    return key


def _read_file(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path}: has more than {FILE_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8, at byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error


def _leaves(value: object, pointer: str) -> Iterator[str]:
    """Yield the pointers to all that is no table, and to all tables that are empty."""
    if isinstance(value, dict) and (value or not pointer):
        for key, member in value.items():
            yield from _leaves(member, child(pointer, key))
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for at, item in enumerate(value):
            yield from _leaves(item, child(pointer, at))
    else:
        yield pointer


def _lay(document: dict[str, object], origins: dict[str, str], setting: Setting) -> bool:
    """Put one value where it belongs; False when there is something else than a table."""
    node: object = document
    for key, following in zip(setting.path, setting.path[1:], strict=False):
        node = _step_into(node, key, [] if isinstance(following, int) else {})
    if not isinstance(node, dict):
        return False
    node[setting.path[-1]] = setting.value
    origins[_pointer_of(setting.path)] = setting.origin
    return True


def _step_into(node: object, key: str | int, empty: object) -> object:
    """Return the table or array at `key`, made anew where there was nothing."""
    if isinstance(node, dict):
        return node.setdefault(key, empty)
    if isinstance(node, list) and isinstance(key, int) and key <= len(node):
        if key == len(node):
            node.append(empty)
        return node[key]
    return None


def _pointer_of(path: Path) -> str:
    pointer = ""
    for key in path:
        pointer = child(pointer, key)
    return pointer


def _listed(faults: list[Fault], origins: Mapping[str, str]) -> str:
    lines = []
    for fault in faults:
        origin = _nearest_origin(fault.pointer, origins)
        where = f" ({origin})" if origin else ""
        lines.append(f"{key_of(fault.pointer)}{where}: {fault.detail}")
    return "\n".join(lines)


def _nearest_origin(pointer: str, origins: Mapping[str, str]) -> str:
    """Say which source to mend: that of the value, of what is in it, or of what is beside it."""
    while pointer:
        for known, origin in origins.items():
            if known == pointer or known.startswith(f"{pointer}/"):
                return origin
        pointer = pointer.rpartition("/")[0]
    return ""
