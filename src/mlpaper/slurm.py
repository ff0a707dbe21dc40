"""What Snakemake's Slurm plugin lacks: it stops asking about its jobs, and waits for ever, once Slurm does not answer.

Version 2.8.0 forgets all jobs whose state it could not get in a few attempts, as in an outage of the controller. Here
they are asked for again, and the wait has an end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from mlpaper.errors import MlpaperError

PATIENCE = 1800.0
"""Seconds without an answer on any job before Snakemake stops."""


def keep_asking() -> None:
    """Mend the plugin, where it is loaded."""
    plugin: Any = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is not None and not hasattr(plugin.Executor, "last_answer"):
        plugin.Executor.last_answer = None
        plugin.Executor.check_active_jobs = _with_all_jobs(plugin.Executor.check_active_jobs)


def _with_all_jobs(check: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """`check_active_jobs` that also yields the jobs that `check` neither yields nor reports as ended."""

    async def check_active_jobs(executor: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        known: set[int] = set()

        def noted(report: Callable[..., None]) -> Callable[..., None]:
            def reported(job: Any, *arguments: Any, **options: Any) -> None:
                known.add(id(job))
                report(job, *arguments, **options)

            return reported

        executor.report_job_success = noted(executor.report_job_success)
        executor.report_job_error = noted(executor.report_job_error)
        try:
            async for job in check(executor, active_jobs):
                known.add(id(job))
                yield job
        finally:
            del executor.report_job_success, executor.report_job_error
        forgotten = [job for job in active_jobs if id(job) not in known]
        now = time.monotonic()
        if known or not active_jobs or executor.last_answer is None:
            executor.last_answer = now
        if now - executor.last_answer > PATIENCE:
            raise MlpaperError(
                f"Slurm has not said for {PATIENCE / 60:.0f} minutes what became of {len(forgotten)} jobs "
                f"({', '.join(str(job.external_jobid) for job in forgotten[:5])}, ...): see `squeue` and `sinfo`. "
                "Cancel what still runs; the same call goes on"
            )
        for job in forgotten:
            yield job

    return check_active_jobs
