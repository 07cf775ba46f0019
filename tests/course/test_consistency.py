"""The files that say what is installed agree, and the tree names no registry and no path of one machine."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from course import cli, setup_environment

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
BASE = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
DEV = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["dev"]]
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Not imported anywhere: programs, JupyterLab extensions, and types for mypy.
PROGRAMS = {
    "jupyterlab",
    "mypy",
    "nbval",
    "pandas-stubs",
    "pre-commit",
    "pytest-xdist",
    "ruff",
    "types-cachetools",
}
PROGRAMS |= {"types-protobuf", "voila"}
# What of course/ and widgets/ runs only where the dev extra is.
AUTHORS = {"widgets/authoring.py"}


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def pin_for(name: str) -> str | None:
    """Return the version that the constraints ask for here."""
    here = [
        pin
        for pin in PINS
        if canonicalize_name(pin.name) == name and (not pin.marker or pin.marker.evaluate())
    ]
    assert len(here) <= 1, here
    return str(here[0].specifier).removeprefix("==") if here else None


def closure() -> Iterator[tuple[str, str]]:
    """Yield every distribution that base and dev bring here, with the installed version."""
    queue = [*BASE, *DEV]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in ["", *sorted(requirement.extras)]:
            if (name, extra) in seen or (
                requirement.marker and not requirement.marker.evaluate({"extra": ""})
            ):
                continue
            seen.add((name, extra))
            distribution = metadata.distribution(name)
            if not extra:
                yield name, distribution.version
            for line in distribution.requires or []:
                wanted = Requirement(line)
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    wanted.marker = None
                    queue.append(wanted)


def test_constraints_are_exact_versions() -> None:
    assert len(PINS) > 100
    for pin in PINS:
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)) and not pin.url and not pin.extras, pin
    lines = [(canonicalize_name(pin.name), str(pin.marker)) for pin in PINS]
    assert len(lines) == len(set(lines))


def test_constraints_hold_everything_that_is_installed() -> None:
    found = dict(closure())
    assert len(found) > 100
    assert {
        name: (version, pin_for(name)) for name, version in found.items() if version != pin_for(name)
    } == {}


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_constraints_hold_what_other_systems_need(system: str) -> None:
    """What the metadata of the packages installed here asks for on another system is pinned too."""
    environment = {"sys_platform": system, "os_name": "nt" if system == "win32" else "posix", "extra": ""}
    environment["platform_system"] = {"win32": "Windows", "darwin": "Darwin"}[system]
    pinned = names(PINS)
    asked = {
        canonicalize_name(wanted.name)
        for name, _ in closure()
        for wanted in map(Requirement, metadata.distribution(name).requires or [])
        if wanted.marker and wanted.marker.evaluate(environment) and "extra" not in str(wanted.marker)
    }
    assert asked & {"colorama", "appnope"}
    assert asked - pinned == set()


def test_names_are_unique_and_pinned() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]) == {"dev"}
    assert len(BASE) == len(names(BASE)) and len(DEV) == len(names(DEV)) and not names(BASE) & names(DEV)
    assert names([*BASE, *DEV]) <= names(PINS)
    assert not [requirement for requirement in [*BASE, *DEV] if requirement.specifier], (
        "versions are in constraints"
    )
    assert re.fullmatch(r"setuptools==[\d.]+", PROJECT["build-system"]["requires"][0])


def test_python_versions_agree() -> None:
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    oldest = ".".join(map(str, setup_environment.OLDEST))
    assert [version for version in [*PYTHONS, "3.10"] if version in supported] == PYTHONS
    assert oldest == PYTHONS[0]
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"version_info < {setup_environment.OLDEST}" in (ROOT / "Makefile").read_text("utf-8")


def test_conda_and_binder_install_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *conda, pip = environment["dependencies"]
    assert environment["name"] == PROJECT["project"]["name"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    version = re.fullmatch(r"python=(3\.\d+)", conda[0])
    assert version and version[1] in PYTHONS and conda[1:] == ["pip"], (
        "all else comes from pip, by the constraints"
    )
    assert pip == {"pip": ["-c constraints.txt", "-e ."]}
    script = (ROOT / "postBuild").read_text("utf-8").splitlines()
    assert script[0].startswith("#!") and [line for line in script if line.startswith("course ")] == [
        "course warm"
    ]
    assert "warm" in {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    apt = (ROOT / "apt.txt").read_text("utf-8").split()
    assert apt == sorted(apt) and len(apt) > 0
    install = (ROOT / ".ci/run").read_text("utf-8")
    assert [name for name in apt if not re.search(rf"^need \S+ .*\b{name}\b", install, re.MULTILINE)] == []


@pytest.mark.skipif(os.name == "nt", reason="a checkout there has no such bits")
@pytest.mark.parametrize("path", ["postBuild", ".ci/run"])
def test_scripts_can_be_run(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    subprocess.run(["bash", "-n", path], cwd=ROOT, check=True)


def imported(source: str) -> set[str]:
    """Return the top-level packages that `source` imports, anywhere, types and all."""
    result = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            result |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            result.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "pytest.importorskip",
            "import_module",
        }:
            result |= {
                ast.literal_eval(name).split(".")[0]
                for name in node.args[:1]
                if isinstance(name, ast.Constant)
            }
    return result - sys.stdlib_module_names - {"course", "widgets", "tests"}


def uses(*folders: str) -> dict[str, set[str]]:
    """Map each distribution that is imported below `folders` to the files that do."""
    owners = metadata.packages_distributions()
    result: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for module in imported(path.read_text("utf-8")):
            for owner in owners.get(module, [module]):
                result.setdefault(canonicalize_name(owner), set()).add(path.relative_to(ROOT).as_posix())
    return result


def test_what_readers_run_imports_only_what_they_have() -> None:
    found = uses("course", "widgets", "notebooks")
    assert "numpy" in found
    assert {
        name: files - AUTHORS for name, files in found.items() if files - AUTHORS and name not in names(BASE)
    } == {}


def test_what_authors_run_imports_only_what_they_have() -> None:
    found = uses("course", "widgets", "notebooks", "tests")
    assert {name: files for name, files in found.items() if name not in names([*BASE, *DEV])} == {}


def test_nothing_is_installed_that_nothing_uses() -> None:
    assert names(BASE) - set(uses("course", "widgets", "notebooks")) - PROGRAMS == set()
    assert names(DEV) - set(uses("course", "widgets", "notebooks", "tests")) - PROGRAMS == set()


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for path in listed.split("\0") if path and (ROOT / path).is_file()]


REGISTRIES = ["py" + "pi.org", "pythonhosted" + ".org", "registry" + ".npmjs", "conda.anaconda" + ".org"]
REGISTRIES += ["deb.debian" + ".org", "index" + "-url ", "extra-index" + "-url"]
MACHINE = re.compile(r"(?<![\w.])/(?:work|farm|root|home|Users|opt|tmp/bash_jobs)/[A-Za-z.]")


def naming_faults(text: str) -> list[str]:
    return [host for host in REGISTRIES if host in text] + MACHINE.findall(text)


@pytest.mark.needs("git")
def test_no_registry_and_no_machine_is_named() -> None:
    paths = tracked()
    assert {"pyproject.toml", "constraints.txt", ".ci/run"} <= set(paths)
    found = {path: naming_faults((ROOT / path).read_text("utf-8", errors="replace")) for path in paths}
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_a_named_machine_is_seen() -> None:
    for text in ["see /" + "root/.cache", '"/' + 'home/ann/x"', "https://" + REGISTRIES[0] + "/simple"]:
        assert naming_faults(text), text
    assert not naming_faults("the net/work/load and C:/Users of a/root/.x")


def test_versions_agree() -> None:
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["version"] == version
    assert citation["license"] == ["MIT", "CC-BY-4.0"]
    assert " AND ".join(citation["license"]) == PROJECT["project"]["license"]
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[Unreleased\]$", log, re.MULTILINE)
    assert metadata.version(PROJECT["project"]["name"]) == version


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "learners.md", "instructors.md", "authors.md"} <= {
        p.name for p in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands_in_pages_are_true(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    code = "\n".join(re.findall(r"`[^`\n]+`|^```.*?^```", text, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= targets
    assert set(re.findall(r"\bcourse ([a-z]+)", code)) <= commands
