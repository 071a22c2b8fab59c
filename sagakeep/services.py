"""The services of a configuration: from how each is reached to something that can be called."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from functools import reduce
from typing import Final

from sagakeep.classification import StatusRule
from sagakeep.errors import ConfigurationError
from sagakeep.http.caller import HttpCaller
from sagakeep.orchestrator import ServiceSpec
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Caller, Outcome
from sagakeep.settings.config import ServiceConfig, StatusMeaning

_RULES: Final[Mapping[StatusMeaning, StatusRule]] = {
    StatusMeaning.DONE: StatusRule(Outcome.DONE),
    StatusMeaning.NOT_DONE: StatusRule(Outcome.NOT_DONE, permanent=True),
    StatusMeaning.NOT_DONE_RETRYABLE: StatusRule(Outcome.NOT_DONE),
    StatusMeaning.UNKNOWN: StatusRule(Outcome.UNKNOWN),
}


def make_services(configured: Mapping[str, ServiceConfig]) -> dict[str, ServiceSpec]:
    """Make a caller for each service. Raises ConfigurationError, which lists every one that cannot be."""
    specs: dict[str, ServiceSpec] = {}
    faults = []
    for name, config in configured.items():
        try:
            specs[name] = _spec(config)
        except ConfigurationError as error:
            faults.append(f"services.{name}: {error}")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return specs


def _spec(config: ServiceConfig) -> ServiceSpec:
    return ServiceSpec(
        _caller(config),
        config.concurrency_max,
        config.queue_max,
        config.rate_limit_per_s,
        config.rate_burst,
        config.breaker_failures,
        config.breaker_open_s,
        config.ramp_calls_per_s,
    )


def _caller(config: ServiceConfig) -> Caller:
    if config.python:
        return PythonCaller(import_service(config.python), threads_max=config.concurrency_max)
    rules = {int(status): _RULES[meaning] for status, meaning in config.statuses.items()}
    return HttpCaller(
        config.url,
        connections_max=config.concurrency_max,
        status_outcomes=rules,
        headers=config.headers,
    )


def import_service(place: str) -> object:
    """Return the object at "module:attribute"; modules of the working directory are found, too.

    Raises ConfigurationError, which says how far it got.
    """
    module_name, _, attribute = place.partition(":")
    working_directory = os.getcwd()
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    try:
        module = importlib.import_module(module_name)
        service: object = reduce(getattr, attribute.split("."), module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"python {place!r}: there is no module {error.name!r}") from error
    except AttributeError as error:
        raise ConfigurationError(f"python {place!r}: {error}") from error
    except Exception as error:  # whatever the module does while it is imported
        said = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"python {place!r}: importing it raised {said}") from error
    if inspect.isclass(service) or inspect.ismodule(service):
        kind = "class" if inspect.isclass(service) else "module"
        raise ConfigurationError(f"python {place!r}: is a {kind}; name an object with methods")
    return service
