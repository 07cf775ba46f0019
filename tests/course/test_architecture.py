"""Who may import whom, and that `import course` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORK = {"authoring", "controls", "explorable", "library", "palette", "plot", "quiz", "server"}
# What each room of course/ may import from course/ besides itself; every other module is a concept.
ROOMS = {
    "checks": set[str](),
    "setup_environment": set[str](),
    "kernels": {"checks"},
    "labs": {"checks"},
    "concept": {"checks", "kernels"},
    "exercises": {"checks", "kernels", "concept", "labs"},
    "classroom": {"checks", "exercises"},
    "cli": {"checks", "setup_environment", "exercises", "classroom", "labs", "concept"},
}
HEAVY = {"pandas", "numba", "plotly", "IPython", "scipy", "ipywidgets", "anywidget"}


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path.read_text("utf-8")
    for package in ("course", "widgets")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(source: str, names: set[str], package: str = "") -> set[str]:
    """Return the modules that `source` imports anywhere; a submodule among `names` is no attribute."""
    result = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            result |= {f"{base}.{n.name}" if f"{base}.{n.name}" in names else base for n in node.names}
    return result


def room(name: str) -> str:
    """Return the room of course/ that the module `name` belongs to."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "concept"


def faults(modules: dict[str, str]) -> list[str]:
    """List the imports that break the rules."""
    found = []
    names = set(modules)
    for name, source in modules.items():
        package = name if any(other.startswith(name + ".") for other in names) else name.rpartition(".")[0]
        for target in sorted(imports(source, names, package)):
            top, _, rest = target.partition(".")
            head = rest.split(".")[0]
            own = name.split(".")[1] if "." in name else ""
            bad = top == "tests"
            if name.startswith("course"):
                bad |= top in {"widgets", "ipywidgets", "anywidget", "plotly", "IPython"}
                inside = top == "course" and head != ""
                bad |= inside and room(target) not in ROOMS[room(name)] | {room(name)}
            elif top == "widgets" and head and head != own:
                bad |= head not in FRAMEWORK
            if bad:
                found.append(f"{name} imports {target}")
    return found


def test_the_modules_are_found() -> None:
    assert {"course", "course.checks", "course.cli", "widgets"} <= set(MODULES)
    assert {name.split(".")[1] for name in MODULES if name.startswith("widgets.")} >= {
        "explorable",
        "caching",
    }


def test_imports_go_one_way() -> None:
    assert faults(MODULES) == []


def test_course_has_no_cycle() -> None:
    names = {name for name in MODULES if name.startswith("course.")}
    graph = {name: imports(MODULES[name], names) & names - {name} for name in names}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("course.caching", "def f():\n    import plotly.graph_objects"),
        ("course.caching", "from widgets import plot"),
        ("course.caching", "from course.classroom import check"),
        ("course.kernels.caching", "from course import caching"),
        ("course.kernels.caching", "from .. import caching"),
        ("course.checks", "import course.caching"),
        ("course.labs.redis", "import course.caching"),
        ("widgets.caching", "from widgets.queueing import little"),
        ("widgets.caching", "from . import queueing"),
        ("widgets.plot", "import widgets.caching"),
        ("widgets.caching", "from tests import conftest"),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str) -> None:
    there = ["course.caching", "course.classroom", "course.kernels", "widgets.caching", "widgets.queueing"]
    assert (
        len(faults({**dict.fromkeys(["course", "widgets", "widgets.plot", *there], ""), name: source})) == 1
    )


def test_importing_course_is_light() -> None:
    """Each concept is importable without what takes time; kernels are imported where they are used."""
    names = [
        n
        for n in MODULES
        if n.startswith("course") and room(n) not in {"kernels", "cli"} and "__main__" not in n
    ]
    assert "course" in names and any(room(name) == "concept" and name != "course" for name in names)
    code = "import importlib, sys\n" + "\n".join(
        f"importlib.import_module({name!r}); print({name!r}, *{HEAVY!r} & set(sys.modules))" for name in names
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert output.split("\n") == [*names, ""]


def test_no_module_hides_the_standard_library() -> None:
    """The set-up runs as a script from course/, whose folder Python may put first on its path."""
    own = {path.stem for path in (ROOT / "course").glob("*.py")} - {"__init__"}
    assert own & sys.stdlib_module_names == set()


def test_setup_needs_nothing_and_runs_on_old_python() -> None:
    source = MODULES["course.setup_environment"]
    ast.parse(source, feature_version=(3, 6))
    assert {name.split(".")[0] for name in imports(source, set())} <= sys.stdlib_module_names
