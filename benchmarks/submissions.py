"""How many jobs a cluster is sent, and what they ask for.

    python benchmarks/submissions.py [slurm|cluster] [KEY=VALUE ...]

Plans with the profile as Snakemake does, from the start whatever is made, submits nothing, and needs no scheduler.
Values are those of `--config`.
"""

import sys
import time
from collections import defaultdict

import snakemake.cli
from snakemake.dag import DAG
from snakemake.resources import GroupResources

started = time.process_time()
LOCAL = ("all", "fetch", "ledger", "numbers", "paper")
plan = DAG.postprocess


async def counted(dag: DAG, *arguments: object, **options: object) -> None:
    """Plan, then print a line for each kind of what is to be submitted."""
    await plan(dag, *arguments, **options)
    kinds = defaultdict(list)
    for job in {dag.get_job_group(job) or job for job in dag.needrun_jobs()}:
        if job.is_group() or job.rule.name not in LOCAL:
            kinds[job.groupid if job.is_group() else job.rule.name].append(job)
    for name, jobs in sorted(kinds.items()):
        asked = [needs(job) for job in jobs]
        cores, minutes, memory = (max(it[key] for it in asked) for key in ("_cores", "runtime", "mem_mb"))
        most = f"at most {cores} cores, {minutes} minutes, {memory} MB"
        print(f"{name:<32} {len(jobs):4} submissions of {sum(map(len, jobs)):5} jobs; {most}")
    together = [job for jobs in kinds.values() for job in jobs]
    seconds = f"planned in {time.process_time() - started:.1f} s of processor time"
    print(f"{'all':<32} {len(together):4} submissions of {sum(map(len, together)):5} jobs; {seconds}")


def needs(job: object) -> dict:
    """What a submission asks for. A dry run would add up what is asked for one after another."""
    if not job.is_group():
        return job.resources
    options = {"constraints": job.global_resources, "run_local": False, "sortby": ["runtime"]}
    return GroupResources.basic_layered(job.toposorted, **options)


DAG.postprocess = counted
profile, *config = sys.argv[1:] or ["slurm"]
options = ["--dry-run", "--forceall", "--quiet", "all", "--workflow-profile", f"profiles/{profile}"]
snakemake.cli.main([*options, *(["--config", *config] if config else [])])
