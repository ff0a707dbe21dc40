"""The set-up of the environment: what it runs, what it leaves behind when that fails, and that its files agree."""

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


class Machine:
    """Stands in for `subprocess.run`: notes commands, makes environments, and fails where it is told to."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.failing: set[str] = set()
        self.pip_settings = ""
        self.environment: dict[str, str] = {}

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess:
        text = " ".join(command)
        self.commands.append(text)
        self.environment = options.get("env") or self.environment
        if "-m venv" in text:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        if "Ctrl-C" in self.failing and "uv sync" in text:
            raise KeyboardInterrupt
        output = self.pip_settings if "config list" in text else b"numpy==2.1 --hash=sha256:0"
        return subprocess.CompletedProcess(command, any(word in text for word in self.failing), stdout=output)

    def ran(self, text: str) -> bool:
        """Whether a command with this text was run since the last question."""
        found = any(text in command for command in self.commands)
        self.commands.clear()
        return found


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """No command is run for real; torch is not installed, and there is no NVIDIA device."""
    machine = Machine()
    machine.failing = {"pip --disable-pip-version-check show"}
    monkeypatch.setattr(subprocess, "run", machine.run)
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_")) or name in ("SSL_CERT_FILE", "TORCH")]:
        monkeypatch.delenv(name)
    return machine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the set-up reads."""
    folder = tmp_path / "project"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "envs" / "setup.py", folder / "envs")
    (folder / "uv.lock").write_text("lock 1")
    (folder / "pyproject.toml").write_text("project 1")
    return folder


def load(folder: Path) -> ModuleType:
    """The set-up of a project, as a module."""
    spec = importlib.util.spec_from_file_location("setup", folder / "envs" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.has_nvidia = lambda: False
    return module


def set_up(folder: Path, *parts: str) -> None:
    load(folder).main(list(parts))


def state(folder: Path) -> dict:
    return json.loads((folder / ".venv" / "mlpaper.json").read_text())


def test_where_nothing_is_to_do_nothing_is_run(machine: Machine, project: Path) -> None:
    set_up(project, "dev")
    assert machine.ran("uv sync")
    set_up(project)
    set_up(project, "dev")
    assert machine.commands == []


def test_where_nothing_is_to_do_it_returns_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        machine = Machine()
        patched.setattr(subprocess, "run", machine.run)
        set_up(project)
    seconds = []
    for _ in range(10):  # the fastest tells, whatever else runs on this machine
        start = time.perf_counter()
        subprocess.run([sys.executable, str(project / "envs" / "setup.py")], check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.15


def test_parts_add_up_and_a_changed_lock_installs_them_again(machine: Machine, project: Path) -> None:
    set_up(project, "slurm")
    set_up(project, "dev")
    assert machine.ran("--group dev --extra slurm")
    for changed in ("uv.lock", "pyproject.toml"):
        (project / changed).write_text("2")
        set_up(project)
        assert machine.ran("--group dev --extra slurm")
    assert state(project)["parts"] == ["dev", "slurm"]


@pytest.mark.parametrize("transfer", [shutil.move, functools.partial(shutil.copytree, symlinks=True)])
def test_in_another_folder_the_environment_is_made_again(
    machine: Machine, project: Path, capsys: pytest.CaptureFixture, transfer: Any
) -> None:
    set_up(project, "dev")
    (project / ".venv" / "code-of-the-original").touch()
    machine.commands.clear()
    other = project.with_name("other")
    transfer(project, other)
    set_up(other)
    assert f"belongs to {project}: it is made again for this folder" in capsys.readouterr().out
    assert not (other / ".venv" / "code-of-the-original").exists()
    assert state(other)["folder"] == str(other)
    assert state(other)["parts"] == ["dev"]
    assert f"-m venv {other}" in machine.commands[0]


@pytest.mark.parametrize("target", ["/nowhere/python3.11", shutil.which("true")])
def test_after_an_upgrade_of_python_the_environment_is_made_again(machine: Machine, project: Path, target: str) -> None:
    set_up(project)
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(target)
    set_up(project)
    assert python.resolve() == Path(sys.executable).resolve()


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ("-m venv", "apt install python3-venv"),
        ("envs/uv.txt", r'uv could not be installed; CONTRIBUTING.md \("Without uv"\)'),
        ("uv sync", "the same command continues it"),
        ("--editable", "the same command continues it"),
    ],
)
def test_what_fails_is_told_in_a_line_and_is_done_at_the_next_call(
    machine: Machine, project: Path, failing: str, message: str
) -> None:
    machine.failing.add(failing)
    for _ in range(2):
        with pytest.raises(SystemExit, match=message) as stop:
            set_up(project, "dev")
        assert str(stop.value).count("\n") <= 1
        assert machine.ran(failing)
    machine.failing.remove(failing)
    set_up(project)
    assert machine.ran("--editable")
    assert state(project)["parts"] == ["dev"]
    set_up(project)
    assert machine.commands == []


def test_an_interrupted_set_up_continues(machine: Machine, project: Path) -> None:
    machine.failing.add("Ctrl-C")
    with pytest.raises(KeyboardInterrupt):
        set_up(project, "dev")
    machine.failing.remove("Ctrl-C")
    machine.commands.clear()
    set_up(project)
    assert not any("-m venv" in command for command in machine.commands)
    assert machine.ran("uv sync")
    assert state(project)["parts"] == ["dev"]


def test_an_environment_that_was_not_made_here_is_used_or_refused_but_never_removed(
    machine: Machine, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    for code, accepted in ((project / "src/mlpaper/__init__.py", True), ("/original/src/mlpaper/__init__.py", False)):
        answer = subprocess.CompletedProcess([], 0, stdout=f"{code}\n".encode())
        monkeypatch.setattr(subprocess, "run", lambda *_, answer=answer, **__: answer)
        if accepted:
            set_up(project, "dev")
            assert "it is used as it is" in capsys.readouterr().out
        else:
            with pytest.raises(SystemExit, match=r"its mlpaper is /original/.*: remove \.venv"):
                set_up(project)
    assert python.exists()


def test_what_cannot_be_asked_for_is_told(machine: Machine, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="devel, tests: unknown; there are dev, docs, gpu"):
        set_up(project, "dev", "tests", "devel")
    for version in ((3, 10, 4), (3, 15, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        with pytest.raises(SystemExit, match=r"Python 3.11 to 3.14 is needed, and this is .*: make PYTHON=python3.12"):
            set_up(project)
    assert not (project / ".venv").exists()
    assert machine.commands == []


@pytest.mark.parametrize(("name", "text"), [("uv.lock", "uv.lock"), (".venv", "Not a directory|File exists")])
def test_files_in_the_way_are_told_without_a_traceback(project: Path, name: str, text: str) -> None:
    (project / name).unlink(missing_ok=True)
    if name == ".venv":
        (project / name).touch()
    done = subprocess.run([sys.executable, project / "envs" / "setup.py"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"The environment could not be set up: .*({text}).*\n", done.stderr)


def test_pip_settings_reach_uv(machine: Machine, project: Path) -> None:
    machine.pip_settings = (
        "global.cert='/etc/ca.pem'\nglobal.index-url='https://global/simple'\nglobal.proxy='http://proxy:3128'\n"
        "install.index-url='https://mirror/simple'\ninstall.no-compile='true'\n"
    )
    set_up(project, "dev")
    reached = {name: machine.environment.get(name) for name in ("SSL_CERT_FILE", "UV_DEFAULT_INDEX", "ALL_PROXY")}
    assert reached == {
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_DEFAULT_INDEX": "https://mirror/simple",
        "ALL_PROXY": "http://proxy:3128",
    }
    assert not any("uv sync" in command for command in machine.commands)  # it would take the lock's own addresses
    assert machine.ran("--require-hashes -r -")


def test_settings_of_uv_come_before_those_of_pip(
    machine: Machine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own/simple")
    machine.pip_settings = ":env:.index-url='https://pip/simple'"
    set_up(project)
    assert machine.environment["UV_DEFAULT_INDEX"] == "https://own/simple"


def test_pip_tells_its_settings_as_they_are_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pip", reason="this environment was made without pip")
    (tmp_path / "pip.conf").write_text("[global]\ncert = /etc/ca.pem\n[install]\nproxy = http://proxy:3128\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/simple")
    for name in ("PIP_CERT", "SSL_CERT_FILE", "UV_DEFAULT_INDEX", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    module = load(project)
    monkeypatch.setattr(module, "PIP", [sys.executable, "-m", "pip"])
    found = module.uv_settings()
    assert found["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert found["ALL_PROXY"] == "http://proxy:3128"
    assert found["UV_DEFAULT_INDEX"] == "https://mirror/simple"


@pytest.mark.skipif(sys.platform != "linux", reason="the CPU index is for Linux")
def test_pytorch_comes_from_the_cpu_index_else_from_elsewhere_else_is_left_out(
    machine: Machine, project: Path, capsys: pytest.CaptureFixture
) -> None:
    machine.failing |= {"download.pytorch.org", "install --quiet torch"}
    set_up(project, "twin", "dev")
    tries = [command.partition("--quiet ")[2] for command in machine.commands if "install --quiet torch" in command]
    assert [("download.pytorch.org/whl/cpu" in command) for command in tries] == [True, False]
    told = capsys.readouterr().out.splitlines()[1:]
    assert len(told) == 2
    assert "no CPU build from" in told[0]
    assert "could not be installed: runs by PyTorch are left out" in told[1]
    assert state(project)["parts"] == ["dev"]  # the rest is whole; PyTorch is tried again when it is asked for
    machine.commands.clear()
    set_up(project)
    assert machine.commands == []
    machine.failing.remove("install --quiet torch")
    set_up(project, "twin")
    assert "no CPU build from" in capsys.readouterr().out
    assert state(project)["parts"] == ["dev", "twin"]


def test_with_an_nvidia_device_pytorch_is_what_pip_offers(machine: Machine, project: Path) -> None:
    module = load(project)
    module.has_nvidia = lambda: True
    module.main(["twin"])
    assert not any("download.pytorch.org" in command for command in machine.commands)
    assert machine.ran("install --quiet torch")


# The files that `make lock` writes


def locked() -> dict[str, set[str]]:
    """Versions by name, as uv.lock has them."""
    versions: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        versions.setdefault(package["name"], set()).add(package.get("version"))
    return versions


def test_the_pinned_uv_is_that_of_the_lock() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    [uv] = [package for package in lock["package"] if package["name"] == "uv"]
    text = (ROOT / "envs" / "uv.txt").read_text()
    assert re.findall(r"^(\w+)==([\w.]+)", text, re.MULTILINE) == [("uv", uv["version"])]
    assert set(re.findall(r"--hash=(\S+)", text)) == {file["hash"] for file in [uv["sdist"], *uv["wheels"]]}


def test_the_requirements_for_pip_are_those_of_the_lock() -> None:
    lock = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    project = lock["mlpaper"]
    left = [dependency["name"] for dependency in [*project["dependencies"], *project["dev-dependencies"]["build"]]]
    needed: set[str] = set()
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [dependency["name"] for dependency in lock[name].get("dependencies", [])]
    text = (ROOT / "envs" / "requirements.txt").read_text()
    written = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    assert {name for name, _ in written} == needed - {"mlpaper"}
    versions = locked()
    assert all(version in versions[name] for name, version in written)


def test_the_requirements_for_conda_are_those_of_the_lock() -> None:
    versions = locked()
    pins = re.findall(r"- ([\w-]+)(?:\[[\w,]+\])?==(\S+)", (ROOT / "envs" / "gpu.yaml").read_text())
    assert len(pins) == 3
    assert all(version in versions[name] for name, version in pins)
    assert "-r requirements.txt" in (ROOT / "envs" / "cpu.yaml").read_text()  # conda reads it in the file's folder


# A whole set-up: a made-up project, whose packages come from an index on this machine

BACKEND = """
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("tiny.pth", str(pathlib.Path("src").resolve()))
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
build_wheel = build_editable
"""


def write_wheel(index: Path, name: str, module: str) -> str:
    """Add a package of one module to an index; return its SHA-256."""
    wheel = index / name / f"{name}-1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/__main__.py", module)
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return digest


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An empty package index: its folder and its address."""
    folder = tmp_path / "index"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow  # three environments are made for real
def test_a_project_is_set_up_from_an_index_of_ones_own_and_its_copy_runs_its_own_code(
    project: Path, index: tuple[Path, str], tmp_path: Path
) -> None:
    uv = pytest.importorskip("uv", reason="uv is not in this environment").find_uv_bin()
    folder, address = index
    pinned = write_wheel(folder, "uv", f"import os, sys; os.execv({uv!r}, ['uv', *sys.argv[1:]])")
    write_wheel(folder, "needed", "")
    (project / "envs" / "uv.txt").write_text(f"uv==1 --hash=sha256:{pinned}\n")
    (project / "src").mkdir()
    (project / "src" / "tiny.py").touch()
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["needed"]\n'
        '[dependency-groups]\ndev = []\n'
    )  # fmt: skip
    (project / "uv.lock").unlink()
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    clean |= {"UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull, "UV_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([uv, "lock", "--quiet", "--default-index", address], cwd=project, env=clean, check=True)
    # Were the lock's own address asked, nothing would answer: only the index that pip is told of is there.
    lock = (project / "uv.lock").read_text().replace(address, "http://127.0.0.1:9")
    (project / "uv.lock").write_text(lock)
    clean["PIP_INDEX_URL"] = address

    def make(where: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, str(where / "envs" / "setup.py")]
        return subprocess.run(command, env=clean, check=False, capture_output=True, text=True)

    def code_of(where: Path) -> str:
        command = [where / ".venv" / "bin" / "python", "-c", "import needed, tiny; print(tiny.__file__)"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    done = make(project)
    assert done.returncode == 0, done.stderr
    assert code_of(project) == str(project / "src" / "tiny.py")
    copy = project.with_name("copy")
    shutil.copytree(project, copy, symlinks=True)
    assert code_of(copy) == str(project / "src" / "tiny.py")  # what would be run without the set-up
    assert make(copy).returncode == 0
    assert code_of(copy) == str(copy / "src" / "tiny.py")

    write_wheel(folder, "needed", "print('not what was locked')")
    clean["UV_CACHE_DIR"] = str(tmp_path / "another cache")
    shutil.rmtree(copy / ".venv")
    for _ in range(2):
        refused = make(copy)
        assert refused.returncode == 1
        assert "Hash mismatch" in refused.stderr
        assert refused.stderr.endswith("the same command continues it. An index of your own: set UV_DEFAULT_INDEX\n")
        assert "Traceback" not in refused.stderr
