#!/usr/bin/env python3
"""Set up the environment in `.venv` from uv.lock: `python3 envs/setup.py [dev] [docs] [twin] [gpu] ...`.

Returns at once where everything asked for is installed. Needs only Python's standard library, and of pip only what
every version can do: install one package (uv, by its hash). An environment works only in its own folder: in a moved or
copied project it is made again. `make` calls this before every target.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "mlpaper.json"
PARTS = {
    "dev": ["--group", "dev"],
    "docs": ["--group", "docs"],
    "gpu": ["--extra", "gpu"],
    "gpu13": ["--extra", "gpu13"],
    "slurm": ["--extra", "slurm"],
    "cluster": ["--extra", "cluster"],
    "twin": [],
}
"""What can be installed besides the pipeline itself, and the arguments of uv that select it from the lock."""
TORCH = os.environ.get("TORCH", "torch==2.13.0")
"""PyTorch, the referee of the tests and of some runs, is not taken from the lock: the right build depends on the
machine."""
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
INDEX_SETTINGS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
UV = [str(PYTHON), "-m", "uv"]


def main(asked: list) -> None:
    """Bring the environment to what the lock says and what was asked for, now or before."""
    unknown = sorted(set(asked) - set(PARTS))
    if unknown:
        sys.exit(f"{', '.join(unknown)}: unknown; there are {', '.join(PARTS)}")
    state = read_state()
    if PYTHON.exists() and not state:
        return check_own_environment()
    parts = sorted({*state.get("parts", []), *asked})
    lock = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))).hexdigest()
    whole = state.get("folder") == str(ROOT) and state.get("python") == interpreter()
    if whole and state.get("lock") == lock and state.get("parts") == parts:
        return None
    if not whole and not (3, 11) <= sys.version_info[:2] <= (3, 14):
        sys.exit(f"Python 3.11 to 3.14 is needed, and this is {sys.version.split()[0]}: make PYTHON=python3.12 ...")
    say(f"Installing into .venv what uv.lock names ({', '.join(['the pipeline', *parts])}): about half a minute.")
    if not whole:
        create(parts, state.get("folder"))
    state = {"folder": str(ROOT), "python": interpreter(), "lock": None, "parts": parts}
    write_state(state)  # an interrupted set-up continues at the next call
    install(parts)
    if "twin" in parts and not install_torch():
        parts.remove("twin")
    return write_state({**state, "lock": lock, "parts": parts})


def interpreter() -> str:
    """The Python that the environment runs: another one after an upgrade of the system, none where it was removed."""
    return os.path.realpath(PYTHON) if PYTHON.exists() else "missing"


def check_own_environment() -> None:
    """Accept an environment that was not made here, as long as it runs the code of this folder."""
    code = "import importlib.util as util; print(getattr(util.find_spec('mlpaper'), 'origin', None))"
    found = subprocess.run([str(PYTHON), "-c", code], check=False, cwd=VENV, stdout=subprocess.PIPE).stdout.decode()
    if not found.startswith(str(ROOT / "src") + os.sep):
        sys.exit(
            f".venv is not of envs/setup.py, and its mlpaper is {found.strip() or None}: remove .venv to have it made"
        )
    say(".venv is not of envs/setup.py: it is used as it is (remove it to have it made from uv.lock)")


def create(parts: list, former: str) -> None:
    """An empty environment with pip. What is left of another one is removed; what was asked for is kept in mind."""
    if former and former != str(ROOT):
        say(f"The environment in .venv belongs to {former}: it is made again for this folder.")
    VENV.mkdir(exist_ok=True)
    write_state({"folder": str(ROOT), "python": None, "lock": None, "parts": parts})
    for path in VENV.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != STATE:
            path.unlink()
    failure = f"{sys.executable} -m venv failed; on Debian and Ubuntu: apt install python3-venv"
    run([sys.executable, "-m", "venv", str(VENV)], failure, stdout=subprocess.DEVNULL)


def install(parts: list) -> None:
    """The pinned uv, the locked packages, and this project itself in its folder."""
    pinned = ["install", "--quiet", "--no-deps", "--require-hashes", "-r", str(ROOT / "envs" / "uv.txt")]
    run([*PIP, *pinned], 'uv could not be installed; CONTRIBUTING.md ("Without uv") says how to do with pip alone')
    environment = uv_settings()
    chosen = [argument for part in parts for argument in PARTS[part]]
    failure = "The set-up is not complete; the same command continues it. An index of your own: set UV_DEFAULT_INDEX"
    if any(environment.get(name) for name in INDEX_SETTINGS):
        # `uv sync` takes the addresses in the lock; an index of one's own is asked by name, version and hash.
        export = [*UV, "export", "--quiet", "--frozen", "--no-emit-project", *chosen]
        listed = run(export, failure, cwd=ROOT, env=environment, stdout=subprocess.PIPE).stdout
        command = [*UV, "pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", "-r", "-"]
        run(command, failure, cwd=ROOT, env=environment, input=listed)
    else:
        sync = [*UV, "sync", "--quiet", "--frozen", "--inexact", "--no-install-project", "--python", str(PYTHON)]
        run([*sync, *chosen], failure, cwd=ROOT, env=environment)
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run([*UV, "pip", "install", "--quiet", "--python", str(PYTHON), *project], failure, cwd=ROOT, env=environment)


def uv_settings() -> dict:
    """The environment for uv: what pip is told of certificates, of an index and of a proxy holds for uv as well."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_PROJECT_ENVIRONMENT": str(VENV)}
    environment.setdefault("UV_SYSTEM_CERTS", "true")
    # Some seconds. Else the first jobs compile what they import; where `PYTHONDONTWRITEBYTECODE` is set, as in many
    # containers, every process does, and Snakemake takes three seconds longer to start.
    environment.setdefault("UV_COMPILE_BYTECODE", "true")
    done = subprocess.run([*PIP, "config", "list"], check=False, stdout=subprocess.PIPE, text=True)
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    for name, option in (("SSL_CERT_FILE", "cert"), ("UV_DEFAULT_INDEX", "index-url"), ("ALL_PROXY", "proxy")):
        for section in (":env:", "install", "global"):
            value = settings.get(f"{section}.{option}")
            if value:
                environment.setdefault(name, value.strip("'\""))
    return environment


def install_torch() -> bool:
    """PyTorch where there is none: the CPU build on Linux without an NVIDIA device, else what pip's settings offer."""
    if subprocess.run([*PIP, "show", "--quiet", "torch"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return True
    command = [*PIP, "install", "--quiet", TORCH]
    if sys.platform == "linux" and not has_nvidia():
        bounded = ["--retries", "1", "--timeout", "15", "--index-url", CPU_BUILDS]
        if subprocess.run([*command, *bounded], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return True
        say(f"{TORCH}: no CPU build from {CPU_BUILDS}; taking what pip's own settings offer, which may be large.")
    if subprocess.run(command, check=False).returncode == 0:
        return True
    say(f"{TORCH} could not be installed: runs by PyTorch are left out, and tests that need it are skipped.")
    return False


def has_nvidia() -> bool:
    """Whether this machine has an NVIDIA device, or at least its driver."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def run(command: list, failure: str, **options: object) -> subprocess.CompletedProcess:
    """Run a command; where it fails, leave with what that means, below what the command itself has said."""
    done = subprocess.run(command, check=False, **options)
    if done.returncode:
        sys.exit(failure)
    return done


def say(text: str) -> None:
    """Tell at once, before what the next command has to say."""
    print(text, flush=True)


def read_state() -> dict:
    """What the last set-up wrote; nothing where there was none."""
    try:
        return json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}


def write_state(state: dict) -> None:
    """Write whole or not at all."""
    fresh = STATE.with_suffix(".tmp")
    fresh.write_text(json.dumps(state, indent=1) + "\n")
    fresh.replace(STATE)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; the same command continues.")
    except OSError as error:
        sys.exit(f"The environment could not be set up: {error}")
