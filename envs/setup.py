#!/usr/bin/env python3
"""Set up the environment in `.venv` from uv.lock: `python3 envs/setup.py [dev] [twin] [gpu] [gpu13] [slurm] [cluster]`.

Returns at once where all that is asked for is there. Only the standard library of Python is used, and of pip only what
every version can do: install one package without dependencies (uv, by its hash). An environment knows its folder: in a
moved or copied project it is made again. `make` calls this before every target.
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
    "gpu": ["--extra", "gpu"],
    "gpu13": ["--extra", "gpu13"],
    "slurm": ["--extra", "slurm"],
    "cluster": ["--extra", "cluster"],
    "twin": [],
}
"""What can be asked for besides the pipeline itself, and the arguments of uv that choose it from the lock."""
TORCH = os.environ.get("TORCH", "torch==2.13.0")
"""PyTorch, the referee of the tests and of some runs, is not taken from the lock: which build is right depends on the
machine."""
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
INDEX_SETTINGS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]


def main(asked: list) -> None:
    """Bring the environment to what is asked for and what the lock says."""
    if not (3, 11) <= sys.version_info < (3, 15):
        sys.exit(f"Python 3.11 to 3.14 is needed, and this is {sys.version.split()[0]}: make PYTHON=python3.12 ...")
    if unknown := set(asked) - set(PARTS):
        sys.exit(f"{', '.join(sorted(unknown))}: unknown; there are {', '.join(PARTS)}")
    state = read_state()
    if VENV.exists() and (state.get("folder") != str(ROOT) or not PYTHON.exists()):
        if state.get("folder"):
            print(f"The environment in .venv belongs to {state['folder']}: it is made again for this folder.")
        shutil.rmtree(VENV)
        asked, state = [*state.get("parts", []), *asked], {}
    parts = sorted({*state.get("parts", []), *asked})
    lock = hashlib.sha256((ROOT / "uv.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if state.get("lock") == lock and state.get("parts") == parts:
        return
    print(f"Installing into .venv what uv.lock names ({', '.join(['the pipeline', *parts])}): about half a minute.")
    if not PYTHON.exists():
        create()
    state = {"folder": str(ROOT), "lock": None, "parts": parts}
    write_state(state)  # a set-up that is interrupted goes on
    install(parts)
    if "twin" in parts and not install_torch():
        parts.remove("twin")
    write_state({**state, "lock": lock, "parts": parts})


def create() -> None:
    """An environment with pip and the pinned uv."""
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False).returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(f"{sys.executable} -m venv failed; on Debian and Ubuntu: apt install python3-venv")
    uv = [*PIP, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(ROOT / "envs" / "uv.txt")]
    if subprocess.run(uv, check=False).returncode:
        shutil.rmtree(VENV)
        sys.exit('uv could not be installed; CONTRIBUTING.md ("Without uv") says how to set up with pip alone')


def install(parts: list) -> None:
    """The locked packages, and this project itself in its folder."""
    environment = network_settings()
    chosen = [argument for part in parts for argument in PARTS[part]]
    uv = [str(PYTHON), "-m", "uv"]
    if any(environment.get(name) for name in INDEX_SETTINGS):
        # `uv sync` takes the addresses in the lock; an index of one's own is asked by name, version and hash.
        export = [*uv, "export", "--quiet", "--frozen", "--no-emit-project", *chosen]
        listed = subprocess.run(export, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout
        command = [*uv, "pip", "install", "--quiet", "--require-hashes", "-r", "-"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, input=listed)
    else:
        sync = [*uv, "sync", "--quiet", "--frozen", "--inexact", "--no-install-project", "--python", str(PYTHON)]
        subprocess.run([*sync, *chosen], cwd=ROOT, env=environment, check=True)
    project = [*uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    subprocess.run(project, cwd=ROOT, env=environment, check=True)


def network_settings() -> dict:
    """The environment for uv: what pip is told of certificates and of an index holds for uv as well."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_PROJECT_ENVIRONMENT": str(VENV)}
    environment.setdefault("UV_SYSTEM_CERTS", "true")
    done = subprocess.run([*PIP, "config", "list"], check=False, stdout=subprocess.PIPE, text=True)
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    for name, option in (("SSL_CERT_FILE", "cert"), ("UV_DEFAULT_INDEX", "index-url"), ("HTTPS_PROXY", "proxy")):
        for section in (":env:", "install", "global"):
            if value := settings.get(f"{section}.{option}"):
                environment.setdefault(name, value.strip("'\""))
    return environment


def install_torch() -> bool:
    """PyTorch where there is none: the CPU build on Linux without an NVIDIA device, else what pip's settings offer."""
    if subprocess.run([*PIP, "show", "--quiet", "torch"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return True
    command = [*PIP, "install", "--quiet", TORCH]
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if sys.platform == "linux" and not nvidia:
        bounded = ["--retries", "1", "--timeout", "15", "--index-url", CPU_BUILDS]
        if subprocess.run([*command, *bounded], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return True
        print(f"{TORCH}: no CPU build from {CPU_BUILDS}; taking what pip's own settings offer, which may be large.")
    if subprocess.run(command, check=False).returncode == 0:
        return True
    print(f"{TORCH} could not be installed: runs by PyTorch are left out, and tests that need it are skipped.")
    return False


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
    main(sys.argv[1:])
