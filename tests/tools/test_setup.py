"""The set-up: its choice of a Python, what it repeats and what it does not, and the lock's agreement with setup.py."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {
    "requirements.txt": ["3.9.18", "3.10.13", "3.11.7"],
    "requirements-new.txt": ["3.11.7", "3.12.1", "3.13.0"],
}

# Stands for an interpreter: says its version, makes environments that hold a copy of itself, notes its pip calls.
FAKE_PYTHON = """#!{bash}
case "$1 ${{2:-}}" in
    -c*version_info*) echo {version} ;;
    '-m venv') mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python" ;;
    '-m pip')
        [[ $3 != --version ]] || exit 0
        echo "$*" >>"{calls}"
        [[ ! -e "{broken}" ]] || {{ echo no network; exit 1; }}
        ;;
esac
"""


class Project:
    """A copy of what the set-up reads, with a PATH that holds only the given interpreters."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "project with space", folder / "bin"
        self.calls, self.broken = folder / "calls", folder / "broken"
        (self.root / "tools").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "tools/setup.sh", self.root / "tools")
        for name in (*LOCKS, "setup.py"):
            shutil.copy(ROOT / name, self.root)
        for name in ("cat", "cksum", "cp", "mkdir", "rm", "tail"):
            (self.bin / name).symlink_to(shutil.which(name))

    def add_python(self, name: str, version: str) -> None:
        text = FAKE_PYTHON.format(bash=shutil.which("bash"), version=version, calls=self.calls, broken=self.broken)
        self.add_command(name, text)

    def add_command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def set_up(self, **environment: str) -> subprocess.CompletedProcess:
        command = [shutil.which("bash"), str(self.root / "tools/setup.sh")]
        environment = {"PATH": str(self.bin), "HOME": str(self.bin.parent), **environment}
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)

    def pip_calls(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_without_a_suitable_python_one_line_says_so(project):
    project.add_python("python3", "3.14")
    project.add_command("python3.11", f"#!{shutil.which('bash')}\necho 'python3.11: command not found' >&2\nexit 127\n")
    result = project.set_up()
    assert result.returncode == 3
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    for part in ("error:", "3.9", "3.13", "python3 is 3.14", "uv"):
        assert part in result.stderr
    assert not (project.root / ".venv").exists()


def test_without_any_python_one_line_says_so(project):
    result = project.set_up()
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1
    assert "no Python at all" in result.stderr


def test_the_newest_suitable_python_installs_the_lock_then_the_package(project):
    project.add_python("python3", "3.14")
    project.add_python("python3.9", "3.9")
    project.add_python("python3.10", "3.10")
    result = project.set_up()
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "echo 3.10" in (project.root / ".venv/bin/python").read_text()
    lock, package = project.pip_calls()
    assert lock.endswith(f"-r {project.root}/requirements.txt")
    assert "--no-deps" in package
    assert package.endswith(f"-e {project.root}")


@pytest.mark.parametrize(
    ("lane", "pythons", "chosen", "lock"),
    [
        ("", ["3.11", "3.13"], "3.13", "requirements-new.txt"),
        ("", ["3.9", "3.12"], "3.12", "requirements-new.txt"),
        ("old", ["3.10", "3.13"], "3.10", "requirements.txt"),
        ("new", ["3.10", "3.11"], "3.11", "requirements-new.txt"),
        ("", ["3.11"], "3.11", "requirements.txt"),
    ],
)
def test_the_python_and_the_lane_decide_the_lock(project, lane, pythons, chosen, lock):
    for version in pythons:
        project.add_python(f"python{version}", version)
    result = project.set_up(**({"GLNET_LANE": lane} if lane else {}))
    assert result.returncode == 0, result.stderr
    venv = project.root / (f".venv-{lane}" if lane else ".venv")
    assert f"echo {chosen} " in (venv / "bin/python").read_text()
    assert project.pip_calls()[0].endswith(f"-r {project.root}/{lock}")


def test_an_unknown_lane_is_refused(project):
    project.add_python("python3", "3.11")
    result = project.set_up(GLNET_LANE="newest")
    assert result.returncode == 1
    assert result.stderr == "error: GLNET_LANE=newest: expected new, old, or nothing\n"


def test_a_python_of_pyenv_that_is_not_on_the_path_will_do(project):
    folder = project.bin.parent / ".pyenv/versions/3.13.0/bin"
    folder.mkdir(parents=True)
    project.add_python("python3", "3.11")
    project.add_python("interpreter", "3.13")
    (project.bin / "interpreter").rename(folder / "python")

    def version_in(venv: str) -> str:
        return (project.root / venv / "bin/python").read_text().split("echo ")[1].split()[0]

    assert project.set_up().returncode == project.set_up(GLNET_LANE="new").returncode == 0
    assert (version_in(".venv"), version_in(".venv-new")) == ("3.11", "3.13")
    (project.bin / "python3").unlink()
    shutil.rmtree(project.root / ".venv")
    assert project.set_up().returncode == 0
    assert version_in(".venv") == "3.13"


def test_a_finished_installation_is_not_repeated_until_the_lock_changes(project):
    project.add_python("python3", "3.11")
    assert project.set_up().returncode == 0
    again = project.set_up()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(project.pip_calls()) == 2
    with (project.root / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert project.set_up().returncode == 0
    assert len(project.pip_calls()) == 4


def test_a_failed_installation_shows_its_log_and_is_redone(project):
    project.add_python("python3", "3.11")
    project.broken.touch()
    failed = project.set_up()
    assert failed.returncode == 1
    assert "no network" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error:")
    project.broken.unlink()
    assert project.set_up().returncode == 0
    assert len(project.pip_calls()) == 3


def test_an_environment_of_another_python_is_made_anew(project):
    project.add_python("python3", "3.11")
    assert project.set_up().returncode == 0
    inside = project.root / ".venv/bin/python"
    inside.write_text(inside.read_text().replace("echo 3.11", "echo 3.8"))
    assert project.set_up().returncode == 0
    assert "echo 3.11" in inside.read_text()
    assert len(project.pip_calls()) == 4


def test_uv_brings_a_python_where_there_is_none(project):
    project.add_python("python3", "3.14")
    project.add_python("interpreter", "3.13")
    uv = f'#!{shutil.which("bash")}\n[[ "$*" == "venv "*"--python 3.13"* ]] && interpreter -m venv "${{@: -1}}"\n'
    # The copy that the fake makes is of its own file, so it is called by its path.
    project.add_command("uv", uv.replace("interpreter", f'"{project.bin}/interpreter"'))
    result = project.set_up()
    assert result.returncode == 0, result.stderr
    assert len(project.pip_calls()) == 2


def lock_lines(lock: str) -> list[str]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def declared(monkeypatch) -> dict:
    """The arguments that setup.py hands to setuptools."""
    arguments: dict = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: arguments.update(given))
    monkeypatch.setattr("setuptools.find_packages", lambda **given: [])
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def environment(python: str) -> dict[str, str]:
    return {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}


def locked_versions(lock: str, python: str) -> dict[str, str]:
    """Name and version of every package that a lock installs on x86_64 Linux with one Python."""
    versions: dict[str, str] = {}
    for requirement in map(Requirement, lock_lines(lock)):
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} is locked twice on Python {python}"
            versions[name] = str(requirement.specifier)[2:]
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_one_exact_version(lock):
    exact = re.compile(r"[a-z0-9-]+==[0-9]+(\.[0-9]+)*(\.post[0-9]+)?( ; python_full_version .+)?")
    assert lock_lines(lock)
    assert [line for line in lock_lines(lock) if not exact.fullmatch(line)] == []


@pytest.mark.parametrize(("lock", "python"), [(lock, python) for lock in LOCKS for python in LOCKS[lock]])
def test_a_lock_agrees_with_the_ranges(lock, python, monkeypatch):
    arguments, versions = declared(monkeypatch), locked_versions(lock, python)
    # Python 3.11 can have the new lane, too: what is asked for there is what 3.12 asks for.
    asked_of = environment("3.12.0" if lock == "requirements-new.txt" and python.startswith("3.11") else python)
    for text in arguments["install_requires"] + arguments["extras_require"]["dev"]:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(asked_of):
            continue
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in {lock} for Python {python}"
        assert requirement.specifier.contains(versions[name]), f"{name}=={versions[name]} is outside {text}"


def test_the_supported_pythons_are_those_that_the_set_up_accepts(monkeypatch):
    supported = Requirement("python" + declared(monkeypatch)["python_requires"]).specifier
    accepted = re.search(r"''\) pythons=\((.*?)\)", (ROOT / "tools/setup.sh").read_text(encoding="utf-8"))
    assert accepted is not None
    assert set(accepted.group(1).split()) == {
        version for version in (f"3.{minor}" for minor in range(6, 20)) if version in supported
    }


def test_a_wheel_holds_the_weights_that_ship(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "glnet_tf", source / "glnet_tf", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    files = sorted(f"glnet_tf/weights/{file.name}" for file in (ROOT / "glnet_tf" / "weights").iterdir())
    with zipfile.ZipFile(wheel) as archive:
        assert files == sorted(name for name in archive.namelist() if name.startswith("glnet_tf/weights/"))
        assert all(archive.read(name) == (ROOT / name).read_bytes() for name in files)
