"""A release is of one version, and nothing of the project is left out of it."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import glnet_tf

ROOT = Path(__file__).resolve().parents[2]
# Of use in a git checkout only.
NOT_SHIPPED = {".ci/run", ".gitignore"}


@pytest.fixture
def declared(monkeypatch) -> dict:
    """The arguments that setup.py hands to setuptools."""
    arguments: dict = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: arguments.update(given))
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


@pytest.fixture
def tracked() -> list[str]:
    """The files that git knows."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


def build(kind: str, source: Path, folder: Path) -> Path:
    """Builds an sdist or a wheel without the network; returns its file."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=300)
    (file,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_package_changelog_and_citation_name_one_release(declared):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = dict(re.findall(r"^([\w-]+): (.+)$", citation, re.MULTILINE))
    releases = re.findall(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases[0] == (cited["version"], cited["date-released"])
    assert cited["version"] == glnet_tf.__version__ == declared["version"]


def test_every_data_file_of_the_package_is_package_data(declared, tracked):
    patterns = [(ROOT / name.replace(".", "/"), each) for name, all in declared["package_data"].items() for each in all]
    found = {file.relative_to(ROOT).as_posix() for folder, pattern in patterns for file in folder.glob(pattern)}
    data = {file for file in tracked if file.startswith("glnet_tf/") and not file.endswith(".py")}
    assert data and data <= found, f"not in setup.py's package_data: {sorted(data - found)}"


@pytest.mark.slow
def test_an_sdist_holds_the_project_and_its_wheel_the_package(tracked, tmp_path):
    for file in tracked:
        (tmp_path / "source" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / "source" / file)
    shutil.unpack_archive(build("sdist", tmp_path / "source", tmp_path), tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    shipped = files_in(unpacked)
    assert set(tracked) - NOT_SHIPPED - shipped == set()
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as wheel:
        held = set(wheel.namelist())
    package = {file for file in shipped if file.startswith("glnet_tf/")}
    assert {file for file in held if file.startswith("glnet_tf/")} == package
    assert [file for file in held if file.endswith("/LICENSE")] and len({file.split("/")[0] for file in held}) == 2
