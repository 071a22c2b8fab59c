from __future__ import annotations

import msgspec
import pytest

from sagakeep import limits
from sagakeep.errors import ConfigurationError
from sagakeep.settings.config import (
    ApiKeyConfig,
    Config,
    Limits,
    LogFormat,
    Role,
    ServiceConfig,
    StatusMeaning,
)
from sagakeep.settings.sources import DEFAULT, load_config, origin_of, read_settings
from sagakeep.thresholds import Thresholds

SHA = "0123456789abcdef" * 4


def read(tmp_path, text="", environ=None, **overrides):
    path = tmp_path / "sagakeep.toml"
    path.write_text(text)
    return load_config(str(path), environ or {}, overrides)


def faults_of(tmp_path, text="", environ=None, **overrides):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text, environ, **overrides)
    return str(caught.value).replace(str(tmp_path / "sagakeep.toml"), "FILE").split("\n")


# Defaults and the file


def test_nothing_set_gives_the_defaults():
    assert load_config(None, {}, {}) == Config()


def test_each_limit_has_the_default_of_the_module_of_limits():
    for field in msgspec.structs.fields(Limits):
        assert field.default == getattr(limits, field.name.upper()), field.name


def test_every_bound_of_a_definition_can_be_configured():
    """All of section 2's that are numbers; a name's pattern is part of the contract."""
    bounds = {field.encode_name for field in msgspec.structs.fields(Limits)}
    assert bounds >= {
        *("stepsMax", "timeoutSMax", "retriesMax", "bodyBytesMax", "batchBytesMax"),
        *("batchSagasMax", "jsonDepthMax", "tagsMax", "tagCharsMax"),
    }


def test_the_example_of_the_specification_is_read(tmp_path):
    config = read(
        tmp_path,
        """
        bind = "127.0.0.1:8080"
        data = "./sagakeep-data"
        [services.inventory]
        url = "http://127.0.0.1:9001"
        maxConcurrency = 12
        [services.payment]
        python = "shop.payment:service"
        """,
    )
    assert config.services == {
        "inventory": ServiceConfig(url="http://127.0.0.1:9001", concurrency_max=12),
        "payment": ServiceConfig(python="shop.payment:service"),
    }


def test_every_setting_of_the_file_is_read(tmp_path):
    config = read(
        tmp_path,
        f"""
        bind = "0.0.0.0:80"
        grace = 1
        hosts = ["sagas.example:80", "[::1]"]
        [services."a.b"]
        url = "https://h/base"
        headers = {{Authorization = "Bearer x"}}
        statuses = {{404 = "done", 500 = "not_done_retryable"}}
        [[auth.keys]]
        name = "ann"
        sha256 = "{SHA}"
        role = "admin"
        [limits]
        diskReserveBytes = 1
        headersSMax = 0.5
        [log]
        format = "json"
        """,
    )
    assert config.grace_s == 1.0
    assert config.hosts == ("sagas.example:80", "[::1]")
    service = config.services["a.b"]
    assert service.headers == {"Authorization": "Bearer x"}
    assert service.statuses == {
        "404": StatusMeaning.DONE,
        "500": StatusMeaning.NOT_DONE_RETRYABLE,
    }
    assert config.auth.keys == (ApiKeyConfig("ann", SHA, Role.ADMIN),)
    assert (config.limits.disk_reserve_bytes, config.limits.headers_s_max) == (1, 0.5)
    assert config.log.format is LogFormat.JSON


def test_the_rules_for_a_service_are_read(tmp_path):
    text = """
    [services.a]
    url = "http://h"
    maxQueue = 100
    rateLimit = 20
    rateBurst = 3
    breakerFailures = 0
    breakerOpenS = 0.5
    rampCallsPerS = 5
    """
    service = read(tmp_path, text).services["a"]
    rules = (service.queue_max, service.rate_limit_per_s, service.rate_burst)
    assert rules == (100, 20.0, 3)
    breaker = (service.breaker_failures, service.breaker_open_s, service.ramp_calls_per_s)
    assert breaker == (0, 0.5, 5.0)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (
            "maxQueue = -1",
            "maxQueue (FILE): is the number -1; expected 0 (limits.serviceQueueCrowded)",
        ),
        ("rateLimit = nan", "rateLimit (FILE): is the number nan; expected 0 (no rate limit) or 0"),
        ("rateLimit = inf", "rateLimit (FILE): is the number inf; expected 0 (no rate limit) or 0"),
        ("rateBurst = 3", "rateBurst (FILE): is for a service with a rateLimit only"),
        (
            "breakerFailures = -3",
            "breakerFailures (FILE): is the number -3; expected 0 (no breaker)",
        ),
        ("breakerOpenS = 0", "breakerOpenS (FILE): is the number 0.0; expected 0.1 to 3600"),
        ("rampCallsPerS = -1", "rampCallsPerS (FILE): is the number -1.0; expected 0 (no ramp)"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_told_with_its_bounds(tmp_path, rule, fault):
    (told,) = faults_of(tmp_path, f'[services.a]\nurl = "http://h"\n{rule}')
    assert told.startswith(f"services.a.{fault}")


def test_a_secret_is_in_no_representation():
    service = ServiceConfig(url="http://h", headers={"Authorization": "hunter2"})
    assert "hunter2" not in repr(Config(services={"a": service}))
    assert "hunter2" not in str(service)
    assert "Authorization" in repr(service)
    assert "python='m:a'" in repr(ServiceConfig(python="m:a"))


# Layers


def test_the_environment_beats_the_file_and_the_command_line_beats_both(tmp_path):
    text = 'bind = "127.0.0.1:1"\ndata = "file"\ngrace = 1'
    environ = {"SAGAKEEP_DATA": "variable", "SAGAKEEP_BIND": "127.0.0.1:2"}
    config = read(tmp_path, text, environ, bind="127.0.0.1:3")
    assert (config.bind, config.data, config.grace_s) == ("127.0.0.1:3", "variable", 1.0)


def test_each_value_has_its_origin(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('data = "file"\nhosts = ["a", "b"]\n[services.pay]\nurl = "http://h"')
    environ = {
        "SAGAKEEP_CONFIG": str(path),
        "SAGAKEEP_SERVICES__PAY__MAX_CONCURRENCY": "2",
    }
    settings = read_settings(None, environ, {"bind": "localhost:0"})
    origins = {
        key: origin_of(key, settings.origins)
        for key in ("/data", "/hosts/1", "/bind", "/services/pay/maxConcurrency", "/grace")
    }
    assert origins == {
        "/data": str(path),
        "/hosts/1": str(path),
        "/bind": "--bind",
        "/services/pay/maxConcurrency": "SAGAKEEP_SERVICES__PAY__MAX_CONCURRENCY",
        "/grace": DEFAULT,
    }


def test_every_kind_of_setting_has_its_variable():
    config = load_config(
        None,
        {
            "SAGAKEEP_GRACE": "0",
            "SAGAKEEP_HOSTS": "one, two,",
            "SAGAKEEP_LIMITS__HEADERS_S_MAX": "1.5",
            "SAGAKEEP_LIMITS__DISK_RESERVE_BYTES": "7",
            "SAGAKEEP_LOG__LEVEL": "debug",
            "SAGAKEEP_SERVICES__SHIP_IT__URL": "http://h",
            "SAGAKEEP_SERVICES__SHIP_IT__HEADERS__X_API_KEY": "5",
            "SAGAKEEP_SERVICES__SHIP_IT__STATUSES__404": "done",
            "SAGAKEEP_AUTH__KEYS__0__NAME": "ann",
            "SAGAKEEP_AUTH__KEYS__0__ROLE": "viewer",
            "SAGAKEEP_AUTH__KEYS__0__SHA256": SHA,
        },
        {},
    )
    assert config.grace_s == 0
    assert config.hosts == ("one", "two")
    assert (config.limits.headers_s_max, config.limits.disk_reserve_bytes) == (1.5, 7)
    assert config.log.level == "debug"
    service = config.services["ship_it"]
    assert service.headers == {"x-api-key": "5"}
    assert service.statuses == {"404": StatusMeaning.DONE}
    assert config.auth.keys == (ApiKeyConfig("ann", SHA, Role.VIEWER),)


def test_a_variable_finds_the_service_of_the_file_whatever_its_case_and_signs(tmp_path):
    text = '[services."Ship-It.now"]\nurl = "http://h"\nheaders = {X-Key = "1"}'
    environ = {
        "SAGAKEEP_SERVICES__SHIP_IT_NOW__URL": "http://other",
        "SAGAKEEP_SERVICES__ship_it_NOW__HEADERS__X_KEY": "2",
    }
    config = read(tmp_path, text, environ)
    assert config.services == {
        "Ship-It.now": ServiceConfig(url="http://other", headers={"X-Key": "2"})
    }


def test_ten_and_more_keys_of_the_environment_are_in_the_order_of_their_index():
    environ = {}
    for at in range(11):
        environ[f"SAGAKEEP_AUTH__KEYS__{at}__NAME"] = f"key-{at}"
        environ[f"SAGAKEEP_AUTH__KEYS__{at}__ROLE"] = "viewer"
        environ[f"SAGAKEEP_AUTH__KEYS__{at}__SHA256"] = f"{at:064x}"
    keys = load_config(None, environ, {}).auth.keys
    assert [key.name for key in keys] == [f"key-{at}" for at in range(11)]


def test_a_variable_changes_one_key_of_the_file(tmp_path):
    text = f'[[auth.keys]]\nname = "ann"\nsha256 = "{SHA}"\nrole = "viewer"'
    config = read(tmp_path, text, {"SAGAKEEP_AUTH__KEYS__0__ROLE": "admin"})
    assert config.auth.keys == (ApiKeyConfig("ann", SHA, Role.ADMIN),)


def test_empty_variables_and_those_of_kubernetes_set_nothing():
    environ = {
        "SAGAKEEP_BIND": "",
        "SAGAKEEP_SERVICE_HOST": "10.0.0.1",
        "SAGAKEEP_SERVICE_PORT": "80",
        "SAGAKEEP_SERVICE_PORT_HTTP": "80",
        "SAGAKEEP_PORT": "tcp://10.0.0.1:80",
        "SAGAKEEP_PORT_80_TCP_ADDR": "10.0.0.1",
        "SAGAKEEPER": "no",
    }
    assert load_config(None, environ, {}) == Config()


# Faults


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SAGAKEEP_GRASE", """no setting has the part 'GRASE'; did you mean "GRACE"?"""),
        ("SAGAKEEP_BIND__X", "goes deeper than any setting does"),
        ("SAGAKEEP_LIMITS", "names a table: add __ and the name of a setting in it"),
        ("SAGAKEEP_SERVICES__A", "names a table: add __ and the name of a setting in it"),
        ("SAGAKEEP_SERVICES____URL", "has a part without a name"),
        ("SAGAKEEP_AUTH__KEYS", "names a table: add __ and the name of a setting in it"),
        (
            "SAGAKEEP_AUTH__KEYS__X__NAME",
            "'X' should be the index of a table in an array: 0, 1, 2 ...",
        ),
        (
            "SAGAKEEP_AUTH__KEYS__1__NAME",
            "fits nowhere: a table is missing before it, or the file has none there",
        ),
    ],
)
def test_a_variable_that_means_nothing_is_refused(tmp_path, variable, text):
    assert faults_of(tmp_path, environ={variable: "x"}) == [f"{variable}: {text}"]


def test_an_ambiguous_variable_is_refused(tmp_path):
    text = '[services.a-b]\nurl = "http://h"\n[services.a_b]\nurl = "http://h"'
    (fault,) = faults_of(tmp_path, text, {"SAGAKEEP_SERVICES__A_B__URL": "http://x"})
    assert "is ambiguous: it may mean a-b or a_b; use the file" in fault


def test_all_faults_are_told_at_once_with_key_origin_and_what_is_allowed(tmp_path):
    text = """
    grase = 3
    hosts = ["a b"]
    [services.inventory]
    url = "ftp://x"
    maxConcurrency = 0
    statuses = {404 = "doen"}
    [limits]
    stepsMax = -1
    """
    faults = faults_of(tmp_path, text, {"SAGAKEEP_GRACE": "soon"}, data="")
    meanings = "one of done, not_done, not_done_retryable, unknown"
    assert sorted(faults) == [
        'data (--data): is the string ""; expected the path of a directory',
        'grace (SAGAKEEP_GRACE): is the string "soon"; expected a number',
        'grase (FILE): is an unknown field; did you mean "grace"?',
        'hosts[0] (FILE): is the string "a b"; expected NAME or NAME:PORT',
        "limits.stepsMax (FILE): is the number -1; expected 1 to 10000",
        "services.inventory.maxConcurrency (FILE): is the number 0; expected 1 to 1000000",
        f'services.inventory.statuses.404 (FILE): is the string "doen"; expected {meanings};'
        ' did you mean "done"?',
        'services.inventory.url (FILE): is the string "ftp://x"; expected http://HOST or'
        " https://HOST",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("services = 5", "services (FILE): is the number 5; expected an object"),
        ("services = {a = 5}", "services.a (FILE): is the number 5; expected an object"),
        ("grace = nan", "grace (FILE): is the number nan; expected seconds, 0 to 86400"),
        ("grace = -1", "grace (FILE): is the number -1.0; expected seconds, 0 to 86400"),
        ("grace = true", "grace (FILE): is true; expected a number"),
        ("grace = 2020-01-01", "grace (FILE): is a value of the type date; expected a number"),
        ('bind = "localhost"', "bind (FILE): bind 'localhost': want HOST:PORT, [IPV6]:PORT"),
        ('data = "a\\u0000"', "data (FILE): is the string"),
        ("[services.a]", "services.a (FILE): has neither of url and python; expected exactly one"),
        (
            '[services.a]\nurl = "http://h"\npython = "m:a"',
            "services.a (FILE): has both url and python; expected exactly one",
        ),
        ('[services.a]\npython = "m"', "services.a.python (FILE): is the string"),
        ('[services." a"]\nurl = "http://h"', 'services." a" (FILE): is no name of a service'),
        ('[services.a]\nurl = "http://h:x"', "services.a.url (FILE): is no url: "),
        ('[services.a]\nurl = "http://h?q"', "services.a.url (FILE): is the string"),
        ('[services.a]\nurl = "http://h#"', "services.a.url (FILE): is the string"),
        ('[services.a]\nurl = "http://"', "services.a.url (FILE): is the string"),
        (
            '[services.a]\npython = "m:a"\nheaders = {a = "b"}',
            "services.a.headers (FILE): is for a service with a url only",
        ),
        (
            '[services.a]\nurl = "http://h"\nstatuses = {100 = "done"}',
            "services.a.statuses.100 (FILE): is no status code; expected 200 to 599",
        ),
        (
            '[services.a]\nurl = "http://h"\nheaders = {"a b" = "c"}',
            'services.a.headers."a b" (FILE): is no name of a header',
        ),
        ("[limits]\nheadersSMax = 0.0", "limits.headersSMax (FILE): is the number 0.0; expected"),
        ("[limits]\nheadersSMax = nan", "limits.headersSMax (FILE): is the number nan; expected"),
        ("[limits]\nbodyBytesMax = 268435457", "limits.bodyBytesMax (FILE): is the number 2684"),
        ('[[auth.keys]]\nname = "a"', "auth.keys[0].sha256 (FILE): is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text, fault):
    assert faults_of(tmp_path, text)[0].startswith(fault)


def test_a_limit_may_be_at_its_ceiling(tmp_path):
    config = read(tmp_path, "[limits]\nbodyBytesMax = 268435456\nrestartsMax = 1")
    assert config.limits.body_bytes_max == limits.FRAME_BYTES_MAX
    assert read(tmp_path, "[limits]\njsonDepthMax = 120").limits.json_depth_max == 120
    assert faults_of(tmp_path, "[limits]\njsonDepthMax = 121") == [
        "limits.jsonDepthMax (FILE): is the number 121; expected 1 to 120"
    ]


def test_keys_are_valid_and_tell_people_apart(tmp_path):
    keys = [("ann", SHA), ("ann", "x"), ("a b", SHA)]
    text = "".join(
        f'[[auth.keys]]\nname = "{name}"\nsha256 = "{sha}"\nrole = "viewer"\n' for name, sha in keys
    )
    assert [fault.partition(";")[0] for fault in faults_of(tmp_path, text)] == [
        'auth.keys[1].name (FILE): is the string "ann", as another key\'s',
        "auth.keys[1].sha256 (FILE): is no SHA-256",
        'auth.keys[2].name (FILE): is the string "a b"',
        "auth.keys[2].sha256 (FILE): is that of another key",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[services.a]\nurl = "http://user:hunter2@h"',
        '[services.a]\nurl = "http://h"\nheaders = "hunter2"',
        '[services.a]\nurl = "http://h"\nheaders = {key = ["hunter2"]}',
        '[services.a]\nurl = "http://h"\nheaders = {key = "hunter2\\n"}',
        '[[auth.keys]]\nname = "a"\nsha256 = "hunter2"\nrole = "admin"',
    ],
)
def test_a_fault_quotes_no_secret(tmp_path, text):
    (fault,) = faults_of(tmp_path, text)
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a = ", "is not TOML: "),
        (b"a = 1\na = 2", "is not TOML: "),
        (b"\xff", "is not UTF-8, at byte 0"),
        (b"#" * ((1 << 20) + 1), "has more than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, text):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(path), {}, {})
    assert str(caught.value).startswith(f"{path}: {text}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"c\.toml: cannot be read: No such file"):
        load_config(str(tmp_path / "c.toml"), {}, {})


# Who may reach it


@pytest.mark.parametrize("bind", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "127.1:1"])
def test_without_keys_only_this_machine_may_be_served(tmp_path, bind):
    (fault,) = faults_of(tmp_path, f'bind = "{bind}"')
    assert f'bind (FILE): is the string "{bind}", which other machines can reach' in fault
    assert "sagakeep key new" in fault


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:1", "localhost:65535", "unix:/run/s"]
)
def test_without_keys_this_machine_is_served(tmp_path, bind):
    assert read(tmp_path, f'bind = "{bind}"').bind == bind


def test_with_a_key_every_machine_may_be_served(tmp_path):
    text = f'bind = "0.0.0.0:1"\n[[auth.keys]]\nname = "a"\nsha256 = "{SHA}"\nrole = "admin"'
    assert read(tmp_path, text).bind == "0.0.0.0:1"


def test_thresholds_of_alerts_are_settings_and_have_bounds():
    environ = {"SAGAKEEP_ALERTS__ERROR_RATE": "0.2", "SAGAKEEP_ALERTS__STUCK_AFTER": "60"}
    assert load_config(None, environ, {}).alerts == Thresholds(60.0, 0.2)
    for name, value in (
        ("ERROR_RATE", "1.1"),
        ("SLOW", "0"),
        ("SLOW", "1801"),
        ("STUCK_AFTER", "-1"),
    ):
        with pytest.raises(ConfigurationError, match="expected above 0 to"):
            load_config(None, {f"SAGAKEEP_ALERTS__{name}": value}, {})
