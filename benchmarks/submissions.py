"""How many jobs a cluster is sent, and what they ask for: python benchmarks/submissions.py [slurm|cluster] [KEY=VALUE ...].

Plans as Snakemake does with the profile, submits nothing, and needs no scheduler. Values are those of `--config`.
"""

import sys
import time
from collections import Counter

import snakemake.cli
from snakemake.dag import DAG

started = time.process_time()


async def counted(dag: DAG, *arguments: object, **options: object) -> None:
    """Do what `DAG.postprocess` does, then print a line for each group of jobs that are to be submitted."""
    await postprocess(dag, *arguments, **options)
    sent = {dag.get_job_group(job) or job for job in dag.needrun_jobs()}
    local = ("all", "fetch", "ledger", "numbers", "paper")
    sent -= {job for job in sent if not job.is_group() and job.rule.name in local}
    count, size, cores, minutes, memory = Counter(), Counter(), Counter(), Counter(), Counter()
    for job in sent:
        name = job.groupid if job.is_group() else job.rule.name
        count[name] += 1
        size[name] += len(job)
        cores[name] = max(cores[name], job.resources["_cores"])
        minutes[name] = max(minutes[name], job.resources["runtime"])
        memory[name] = max(memory[name], job.resources["mem_mb"])
    for name in sorted(count):
        print(
            f"{name:<32} {count[name]:4} submissions of {size[name]:5} jobs; at most {cores[name]} cores, "
            f"{minutes[name]} minutes, {memory[name]} MB"
        )
    print(f"{'all':<32} {count.total():4} submissions of {size.total():5} jobs; planned in {time.process_time() - started:.1f} s")


postprocess, DAG.postprocess = DAG.postprocess, counted
profile, *config = sys.argv[1:] or ["slurm"]
snakemake.cli.main(["--dry-run", "--forceall", "--quiet", "all", "--workflow-profile", f"profiles/{profile}", *(["--config", *config] if config else [])])
