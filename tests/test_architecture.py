"""The layers, held by reading every import of the package. What each is: ARCHITECTURE.md.

A module may import of its own layer and of those that its layer names, and of no other.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sagakeep"

# A package stands for all of its modules that are not named elsewhere.
LAYERS = {
    "ground": "errors limits",
    "pure": """
        service service_bounds definition events messages saga_status step_status state transitions changes
        interventions course machine steering remains move_requests effects plan graph order mapping expression
        backoff codec validation conversion faults
        json_text json_value pointer redaction reply published standing view bind transitions_page
        json_place definition_file alert thresholds webhook webhook_secret findings.*
        classification moment moves waits story undo_plan explanation explained explanation_view
        explanation_text erasure retention_rule feed service_pause bulk_plan hurry
        analytics step_figures trace tracer log_fields
        """,
    "runtime": "runtime.*",
    "actors": "actors.*",
    "callers": "python_caller http.caller http.poster",
    "facade": "orchestrator fleet bulk wishes actors.engine",
    "http": "http.*",
    "participant": "participant participant.*",
    "demo": "demo.*",
    "settings": "settings.* logs event_columns",
    "offline": "offline.* findings.listing",
    "grade": "grade.*",
    "simulation": "simulation.*",
    "proof": "proof.*",
    "commands": "commands.*",
    "top": """
        sagakeep __main__ cli backup_commands definition_commands complaint process serve services
        webhook_settings telemetry
        """,
}

# What else each layer may import, beside itself.
BELOW = {
    "ground": "",
    "pure": "ground",
    "runtime": "ground",
    "actors": "runtime pure ground",
    "callers": "pure ground",
    "facade": "callers actors runtime pure ground",
    "http": "facade pure ground",
    "participant": "",
    "demo": "participant pure ground",
    "settings": "pure ground",
    "commands": "offline settings pure ground",
    "offline": "settings runtime pure ground",
    "grade": "settings callers pure ground",
    "simulation": "facade actors runtime pure ground",
    "proof": "simulation facade actors settings runtime pure ground",
    "top": """
        commands proof simulation grade offline settings demo http facade callers runtime pure ground
        """,
}

# Who may import what is not ours; a prefix that ends in a dot is a whole package of ours.
RESERVED = {
    "msgpack": {"codec"},
    "hypercorn": {"http.server"},
    "h11": {"http.server", "http.strict_head"},
    "pyqwest": {"http.caller", "http.poster"},
    "starlette": {"http.", "serve"},
    "anyio": {"http."},
    "sqlite3": {
        "actors.read_model",
        "actors.analytics_query",
        "actors.rows",
        "actors.row_file",
        "simulation.rows",
        "demo.barrier",
        "demo.ledger",
        "participant.store",
    },
    "click": {
        *("cli", "definition_commands", "findings.listing", "proof.command", "proof.listing"),
        *("backup_commands", "offline.backup_listing", "commands.", "event_columns"),
        *("offline.event_listing", "offline.verify_listing", "offline.repair_listing"),
    },
    "rich": {
        "offline.backup_listing",
        "event_columns",
        "proof.listing",
        "grade.paper",
        "commands.",
    },
    "prometheus_client": {"actors.numbers"},
    "fcntl": {"runtime.disk"},
    "jmespath": {"expression", "mapping"},
    "opentelemetry": {"telemetry"},
}
# Where an exception of somebody else's code may not go on: each says what becomes of it.
SHELLS = {
    *("actors.journal", "actors.registry", "actors.saga", "actors.worker", "runtime.dispatcher"),
    *("actors.webhooks", "actors.tracing"),
    *("http.request_id", "http.server", "participant.middleware", "python_caller"),
    *("serve", "services", "simulation.world"),
}
TRIO_IN_HTTP = {"http.server", "http.listeners"}  # below the application: sockets
IMPURE = {
    *(
        "trio",
        "anyio",
        "asyncio",
        "threading",
        "subprocess",
        "socket",
        "time",
        "random",
        "secrets",
        "uuid",
    ),
    *("logging", "os", "pathlib", "tempfile", "sqlite3"),
}


def test_every_module_has_one_layer():
    named = [name for text in LAYERS.values() for name in text.split()]
    assert len(named) == len(set(named)), "a module is in two layers"
    gone = {
        name for name in named if name not in MODULES and name.removesuffix(".*") not in MODULES
    }
    assert not gone
    assert not [module for module in MODULES if layer_of(module) is None], "in no layer"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_is_below_it(layer):
    allowed = {layer, *BELOW[layer].split()}
    wrong = [
        f"{module} imports {target} of {layer_of(target)}"
        for module in modules_of(layer)
        for target in ours(module)
        if layer_of(target) not in allowed
    ]
    assert not wrong


def test_no_layer_is_above_itself():
    def walk(layer, path):
        assert layer not in path, f"a cycle of layers: {[*path, layer]}"
        for below in BELOW[layer].split():
            walk(below, [*path, layer])

    for layer in LAYERS:
        walk(layer, [])


def test_no_module_imports_itself_by_way_of_others():
    done = set()

    def walk(module, path):
        assert module not in path, f"a cycle: {' -> '.join([*path, module])}"
        if module not in done:
            for target in ours(module, at_run_time=False):
                walk(target, [*path, module])
            done.add(module)

    for module in MODULES:
        walk(module, [])


@pytest.mark.parametrize("foreign", RESERVED)
def test_a_reserved_package_is_imported_where_it_belongs_only(foreign):
    allowed = RESERVED[foreign]
    importers = {module for module in MODULES if foreign in foreigners(module)}
    strangers = {
        module
        for module in importers
        if not any(module == one or (one[-1] == "." and module.startswith(one)) for one in allowed)
    }
    assert importers, "nobody imports it any more"
    assert not strangers


def test_pure_modules_know_no_clock_no_chance_no_disk_and_no_log():
    wrong = {
        module: impure
        for module in modules_of("pure") + modules_of("ground")
        if (impure := foreigners(module) & IMPURE)
    }
    assert not wrong


def test_pure_modules_have_no_coroutines():
    allowed = {"service"}  # the protocol of a caller, which the layers above implement
    wrong = [
        module
        for module in modules_of("pure")
        if module not in allowed
        and any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(MODULES[module]))
    ]
    assert not wrong


def test_http_speaks_anyio_above_its_sockets():
    assert {m for m in modules_of("http") if "trio" in foreigners(m)} == TRIO_IN_HTTP


def test_no_module_imports_a_private_name_of_another():
    wrong = [
        f"{module}: {name}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sagakeep")
        for name in (alias.name for alias in node.names)
        if name.startswith("_")
    ]
    assert not wrong


def test_nobody_keeps_a_cancellation():
    """Whoever catches everything lets it go on at the end."""
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\bBaseException\b|Cancelled", ast.unparse(node.type)))
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    assert not wrong


def test_only_the_shells_catch_every_exception():
    found = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and ast.unparse(node.type) == "Exception"
    }
    assert found == SHELLS


def test_the_page_has_the_same_layers():
    """The table of ARCHITECTURE.md is the one here: `| layer | what it is | what it may import |`."""
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", page, re.MULTILINE)
    assert told == [(layer, ", ".join(BELOW[layer].split()) or "nothing") for layer in LAYERS][::-1]


def test_what_is_imported_is_declared():
    """Every package that is imported is in pyproject.toml, by itself or as a part of one that is."""
    declared = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    wanted = [*declared["dependencies"], *declared["optional-dependencies"]["otel"]]
    names = {re.split(r"[^A-Za-z0-9_-]", one)[0].replace("-", "_") for one in wanted}
    names -= {"opentelemetry_exporter_otlp_proto_http"}  # a part of the namespace
    parts = {
        "h11": "hypercorn",
        "outcome": "trio",
        "compression": "backports",  # of Python 3.14
        "opentelemetry": "opentelemetry_sdk",
    }
    foreign = {name for module in MODULES for name in foreigners(module)} - sys.stdlib_module_names
    assert {parts.get(name, name) for name in foreign} == names


def test_the_package_is_typed_as_it_says():
    """Without the marker a type checker takes nothing of ours for typed, whatever the classifier says."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert "Typing :: Typed" in project["classifiers"]
    assert (PACKAGE / "py.typed").exists()


# Reading the imports


def _read_modules():
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        modules[name or "sagakeep"] = ast.parse(path.read_text(), str(path))
    return modules


MODULES = _read_modules()


def layer_of(module):
    """The layer that names a module, or else the one that names its package; None for neither."""
    package = module.partition(".")[0] + ".*"
    for name in (module, package):
        for layer, text in LAYERS.items():
            if name in text.split():
                return layer
    return None


def modules_of(layer):
    return [module for module in MODULES if layer_of(module) == layer]


def ours(module, *, at_run_time=True):
    """Our modules that a module imports; those for type checking, or within functions, only `at_run_time`."""
    found = set()
    for node in _imports(MODULES[module], at_run_time):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sagakeep":
            assert node.level == 0, f"{module}: a relative import"
            base = node.module.removeprefix("sagakeep").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                found.add(inner if inner in MODULES else base)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "sagakeep" for name in names), module
    return found


def foreigners(module):
    found = set()
    for node in _imports(MODULES[module], at_run_time=True):
        names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        found |= {name.split(".")[0] for name in names if name}
    return found - {"sagakeep"}


def _imports(tree, at_run_time):
    nodes = ast.walk(tree) if at_run_time else tree.body
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
