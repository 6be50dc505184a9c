"""`import nni` where a script has set PYTHONPATH anew: the line that an installed mpx gives Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version

import pytest

from tests.bench import REPOSITORY, interpreter

LINE = REPOSITORY / "mpx/install/mpx-sdk.pth"
# As `site` does when Python starts; in a virtual environment it does so twice.
LOOK = """
import site, sys
before = list(sys.path), set(sys.modules)
site.addsitedir(sys.argv[1])
site.addsitedir(sys.argv[1])
sys.path.remove(sys.argv[1])
added = [place for place in sys.path if place not in before[0]]
assert sys.path[: len(added)] == added
print(*added)
print(*[name for name in set(sys.modules) - before[1] if name.startswith(("mpx", "nni"))])
"""


@pytest.fixture
def site_packages(tmp_path):
    directory = tmp_path / "site-packages"
    directory.mkdir()
    return directory


def look(site_packages, sdk, python=sys.executable):
    """Return what is added to `sys.path`, and loaded."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MPX_SDK", "PYTHONPATH")}
    if sdk is not None:
        environment["MPX_SDK"] = str(sdk)
    done = subprocess.run(
        [python, "-S", "-c", LOOK, str(site_packages)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("minor", [6, 7, sys.version_info[1]])
def test_the_folder_that_mpx_names_comes_first_and_once(tmp_path, site_packages, minor):
    shutil.copy(LINE, site_packages)
    assert look(site_packages, tmp_path, interpreter(minor)) == [str(tmp_path)]


@pytest.mark.parametrize("sdk", [None, "", "/nowhere", str(LINE)])
def test_elsewhere_it_does_nothing(site_packages, sdk):
    shutil.copy(LINE, site_packages)
    assert look(site_packages, sdk) == []


def setuptools_version():
    try:
        return int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        return 0


@pytest.mark.skipif(setuptools_version() < 77, reason="builds with setuptools >= 77")
@pytest.mark.parametrize("build", ["build_wheel", "build_editable"])
def test_every_kind_of_wheel_has_the_line(tmp_path, site_packages, build):
    source = tmp_path / "source"
    shutil.copytree(REPOSITORY / "mpx/install", source / "mpx/install")
    for name in ("pyproject.toml", "README.md", "LICENSE", "mpx/__init__.py"):
        shutil.copy(REPOSITORY / name, source / name)
    done = subprocess.run(
        [sys.executable, "-c", f"from setuptools import build_meta as it; it.{build}('dist')"],
        cwd=source,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(LINE.name) == LINE.read_bytes()
        assert not [name for name in archive.namelist() if name.startswith(("mpx/install", "nni"))]
        archive.extract(LINE.name, site_packages)
    assert look(site_packages, tmp_path) == [str(tmp_path)]
