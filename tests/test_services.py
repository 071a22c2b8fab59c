from __future__ import annotations

import sys
import types

import pytest

from sagakeep.classification import StatusRule
from sagakeep.errors import ConfigurationError
from sagakeep.http.caller import HttpCaller
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Outcome
from sagakeep.services import import_service, make_services
from sagakeep.settings.config import ServiceConfig, StatusMeaning


class Shop:
    async def buy(self, call):
        return None


@pytest.fixture
def shop_module(monkeypatch):
    module = types.ModuleType("test_services_shop")
    module.Shop, module.shop = Shop, Shop()
    module.department = types.SimpleNamespace(toys=Shop())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


async def test_each_service_becomes_what_can_be_called(shop_module):
    specs = make_services(
        {
            "near": ServiceConfig(python="test_services_shop:shop", concurrency_max=3),
            "far": ServiceConfig(url="http://127.0.0.1:1/x", concurrency_max=2),
        }
    )
    assert isinstance(specs["near"].caller, PythonCaller)
    assert isinstance(specs["far"].caller, HttpCaller)
    assert (specs["near"].concurrency, specs["far"].concurrency) == (3, 2)
    for spec in specs.values():
        await spec.caller.aclose()


async def test_the_rules_for_a_service_are_passed_on():
    config = ServiceConfig(
        url="http://127.0.0.1:1/x",
        queue_max=7,
        rate_limit_per_s=20.0,
        rate_burst=3,
        breaker_failures=4,
        breaker_open_s=1.5,
        ramp_calls_per_s=6.0,
    )
    spec = make_services({"far": config})["far"]
    assert spec[1:] == (64, 7, 20.0, 3, 4, 1.5, 6.0)
    await spec.caller.aclose()


async def test_the_meaning_of_statuses_is_passed_on():
    statuses = {str(at): meaning for at, meaning in enumerate(StatusMeaning, start=400)}
    config = ServiceConfig(url="http://127.0.0.1:1", statuses=statuses)
    caller = make_services({"far": config})["far"].caller
    assert caller._rules == {
        400: StatusRule(Outcome.DONE),
        401: StatusRule(Outcome.NOT_DONE, permanent=True),
        402: StatusRule(Outcome.NOT_DONE),
        403: StatusRule(Outcome.UNKNOWN),
    }
    await caller.aclose()


def test_an_attribute_may_be_deep(shop_module):
    assert import_service("test_services_shop:department.toys") is shop_module.department.toys


def test_a_module_of_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "shop_of_the_working_directory.py").write_text("service = object()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert import_service("shop_of_the_working_directory:service") is not None
    assert import_service("shop_of_the_working_directory:service") is not None
    assert sys.path.count(str(tmp_path)) == 1


def test_every_service_that_cannot_be_reached_is_listed(shop_module, tmp_path, monkeypatch):
    (tmp_path / "shop_that_raises.py").write_text("1 / 0")
    (tmp_path / "shop_that_lacks.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    places = [
        "no_such_shop:service",
        "shop_that_lacks:service",
        "shop_that_raises:service",
        "test_services_shop:missing",
        "test_services_shop:Shop",
        "sagakeep:errors",
    ]
    configured = {f"s{at}": ServiceConfig(python=place) for at, place in enumerate(places)}
    configured["s6"] = ServiceConfig(url="http://h", headers={"Idempotency-Key": "x"})
    with pytest.raises(ConfigurationError) as caught:
        make_services(configured)
    assert str(caught.value).split("\n") == [
        "services.s0: python 'no_such_shop:service': there is no module 'no_such_shop'",
        "services.s1: python 'shop_that_lacks:service': there is no module 'nothing_of_this_name'",
        "services.s2: python 'shop_that_raises:service': importing it raised"
        " ZeroDivisionError: division by zero",
        "services.s3: python 'test_services_shop:missing': module 'test_services_shop' has no"
        " attribute 'missing'",
        "services.s4: python 'test_services_shop:Shop': is a class; name an object with methods",
        "services.s5: python 'sagakeep:errors': is a module; name an object with methods",
        "services.s6: service header 'Idempotency-Key' is set by sagakeep itself",
    ]
