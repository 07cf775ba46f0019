"""Record which files Python opens while the documentation of its own library is built.

For each module of the standard library, and each of its test modules where they are installed, a process of
its own lets pydoc write the documentation, as a build with one process a page does.  An audit hook (PEP 578)
in that process notes what is opened for reading: compiled modules and sources.  The size of each file is
recorded too.

Run it from anywhere: ``python data/traces/record_docs_build.py``.  It takes a few minutes, and needs nothing
but Python and NumPy.  Another Python has other files: the trace will differ.
"""

from __future__ import annotations

import pkgutil
import platform
import subprocess
import sys
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LEFT_OUT = {
    "antigravity",
    "idlelib",
    "this",
    "tkinter",
    "turtle",
    "turtledemo",
}  # these open a window or a browser, or print
SECONDS = 30

CHILD = """
import sys
opened = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and (arguments[1] or "r").strip("bt") == "r":
        opened.append(arguments[0])
sys.addaudithook(note)
try:
    import pydoc
    pydoc.render_doc(sys.argv[1])
except BaseException:
    pass  # a module for another system: what it opened until here counts
sys.stdout.write("\\n".join(["", "OPENED", *opened]))
sys.stdout.flush()
import os
os._exit(0)
"""


def modules() -> list[str]:
    """Names of what is documented, in alphabetical order."""
    names = sorted(
        name for name in sys.stdlib_module_names if not name.startswith("_") and name not in LEFT_OUT
    )
    tests = find_spec("test")
    if tests is not None and tests.submodule_search_locations:
        found = pkgutil.iter_modules(tests.submodule_search_locations)
        names += sorted(f"test.{module.name}" for module in found if module.name.startswith("test_"))
    return names


def opened_for(module: str) -> list[str]:
    """Files that a new process opens to document one module."""
    command = [sys.executable, "-I", "-c", CHILD, module]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.rpartition("\nOPENED\n")[2].split("\n")


def main() -> None:
    """Document everything, write the trace."""
    names = modules()
    numbers: dict[str, int] = {}
    keys: list[int] = []
    sizes: list[int] = []
    for name in names:
        for path in opened_for(name):
            if path not in numbers:
                if not Path(path).is_file() or not path.startswith(sys.base_prefix):
                    continue
                numbers[path] = len(sizes)
                sizes.append(Path(path).stat().st_size)
            keys.append(numbers[path])
    about = f"files opened by Python {platform.python_version()} while pydoc documents {len(names):,} modules"
    target = Path(__file__).with_name("docs_build.npz")
    np.savez_compressed(
        target,
        keys=np.array(keys, np.uint16),
        sizes=np.array(sizes, np.int64),
        about=np.array(about),
        recorded=np.array(date.today().isoformat()),
    )
    print(f"{len(keys):,} requests for {len(sizes):,} files, {target.stat().st_size:,} bytes: {target.name}")


if __name__ == "__main__":
    main()
