"""What a run leaves out is listed with how to get it, and fails where everything is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import pytest

@pytest.mark.needs("memcached")
def test_marked(): pass

def test_asks(program):
    assert program("redis-server")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail(): assert False

def test_passes(): pass
"""


def run(tmp_path: Path, source: str, **variables: str) -> tuple[int, str]:
    (tmp_path / "test_sample.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "COURSE_REQUIRE_ALL": "0",
        **variables,
    }
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--strict-markers", "-rs", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    code, output = run(tmp_path, SOURCE)
    assert code == 0 and "1 passed, 2 skipped, 1 xfailed" in output
    assert "left out, and how to get it" in output
    assert "memcached (1 test): sudo apt install memcached" in output
    assert "redis-server (1 test): sudo apt install redis-server" in output


def test_where_everything_is_required_a_skip_fails(tmp_path: Path) -> None:
    code, output = run(tmp_path, SOURCE, COURSE_REQUIRE_ALL="1")
    assert code == 1 and "1 failed, 1 passed, 1 xfailed, 1 error" in output
    assert "COURSE_REQUIRE_ALL=1 allows no skip" in output


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\npytest.skip('no', allow_module_level=True)",
        "import pytest\n@pytest.mark.skip(reason='no')\ndef test_it(): pass",
        "import pytest\n@pytest.mark.parametrize('x', [])\ndef test_it(x): pass",
    ],
)
def test_other_skips_fail_too(tmp_path: Path, source: str) -> None:
    assert run(tmp_path, source)[0] in {0, 5}
    assert run(tmp_path, source, COURSE_REQUIRE_ALL="1")[0] not in {0, 5}


def test_an_unknown_need_is_an_error(tmp_path: Path) -> None:
    code, output = run(tmp_path, "import pytest\n@pytest.mark.needs('elephant')\ndef test_it(): pass")
    assert code == 4 and "needs('elephant')" in output
