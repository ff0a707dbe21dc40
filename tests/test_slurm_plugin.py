"""Jobs of Slurm whose state cannot be had are asked for again, and the wait has an end."""

import asyncio
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from mlpaper import slurm
from mlpaper.errors import MlpaperError


class Executor:
    """As in the plugin: what cannot be asked for is neither yielded nor reported."""

    def __init__(self) -> None:
        self.states: dict[str, str] | None = None
        self.reported: list[str] = []

    def report_job_success(self, job: SimpleNamespace) -> None:
        self.reported.append(job.external_jobid)

    report_job_error = report_job_success

    async def check_active_jobs(self, active_jobs: list[SimpleNamespace]) -> AsyncIterator[SimpleNamespace]:
        for job in active_jobs if self.states is not None else ():
            if self.states[job.external_jobid] == "RUNNING":
                yield job
            else:
                self.report_job_success(job)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Executor:
    class Own(Executor):
        pass

    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", SimpleNamespace(Executor=Own))
    slurm.keep_asking()
    slurm.keep_asking()
    return Own()


def checked(executor: Executor, jobs: list[SimpleNamespace]) -> list[str]:
    async def collect() -> list[str]:
        return [job.external_jobid async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(collect())


def test_no_job_is_forgotten(executor: Executor) -> None:
    jobs = [SimpleNamespace(external_jobid=name) for name in "123"]
    assert checked(executor, jobs) == ["1", "2", "3"]  # no answer: asked for again
    executor.states = {"1": "RUNNING", "2": "COMPLETED", "3": "FAILED"}
    assert checked(executor, jobs) == ["1"]
    assert executor.reported == ["2", "3"]


def test_the_wait_has_an_end(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [SimpleNamespace(external_jobid="1")]
    now = [0.0]
    monkeypatch.setattr(slurm.time, "monotonic", lambda: now[0])
    checked(executor, jobs)
    now[0] = slurm.PATIENCE - 1
    assert checked(executor, jobs) == ["1"]
    now[0] = slurm.PATIENCE + 1
    with pytest.raises(MlpaperError, match="30 minutes"):
        checked(executor, jobs)


def test_without_the_plugin_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "snakemake_executor_plugin_slurm", raising=False)
    slurm.keep_asking()
