"""One Slurm for all tests here, and projects to build on it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from slurm import Slurm, why_not

sys.path.append(str(Path(__file__).parents[1] / "workflow"))

from project import Project, copy_project


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Two nodes, or a skip. The daemons listen on fixed ports: one worker of pytest-xdist at a time."""
    for name in ("cluster_generic", "slurm"):
        pytest.importorskip(f"snakemake_executor_plugin_{name}", reason=f"python3 envs/setup.py {name.split('_')[0]}")
    with FileLock("/tmp/mlpaper-slurm.lock"):
        if reason := why_not():
            pytest.skip(reason)
        # munge refuses folders of others' whose parents it cannot enter, such as pytest's
        with tempfile.TemporaryDirectory(prefix="mlpaper-slurm-", ignore_cleanup_errors=True) as folder:
            cluster = Slurm(Path(folder))
            cluster.folder.chmod(0o755)
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.stop()


class Call:
    """Snakemake on the cluster, at work in the background."""

    def __init__(self, project: Project, profile: str, *arguments: str) -> None:
        self.project, self.log = project, project.folder / "snakemake.log"
        environment = os.environ | {"PYTHONPATH": str(project.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"profiles/{profile}"]
        command += ["--latency-wait", "10", *arguments, "--config", *project.config]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=project.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, seconds: float) -> int:
        """The exit code; an error, with the log, where it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"Snakemake did not end in {seconds} s:\n{self.log.read_text()[-5000:]}") from None


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return copy_project(tmp_path / "project")
