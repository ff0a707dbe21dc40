# Published studies of multilayer perceptrons, from raw data to a typeset paper: snakemake --cores 4
import sys
from pathlib import Path

# The code beside this file, whatever is installed: a moved or copied project runs its own.
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from mlpaper.study.yaml_file import checked


configfile: checked(Path(workflow.basedir) / "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        PAPERS,
        expand(rules.figure.output, item=FIGURES),
        expand(rules.table.output, item=TABLES),
        paths.LEDGER,
        [f"{paths.run_folder(run)}/run.json" for run in PLAN.runs],


# Snakemake itself runs a few short jobs. A job of a cluster runs all that it was sent for, one after another, without Slurm's `srun`
# and a third Snakemake; hooks such as `onstart` are not called there.
for each in workflow.rules:
    if workflow.remote_exec or each.name in LOCAL:
        workflow.localrules(each.name)
if workflow.remote_exec:
    try:
        SERVERS.append(open_servers(SOCKET, VARIABLES))
    except OSError as error:
        print(f"{SOCKET}: {error}: each job starts its own Python, which takes longer.", file=sys.stderr)


onstart:
    if not workflow.local_exec:
        folder_lock.jobs_run_elsewhere()
    try:
        JOBS.write()
        SERVERS.append(open_servers(SOCKET, VARIABLES))
    except (MlpaperError, OSError) as error:
        raise WorkflowError(str(error)) from None
    # For every job that ended Snakemake looks at all waiting jobs again, after the timespan of its rate limit, then once more,
    # and so on; with its default of 100 jobs a second that is more work than many a job here. A limit that is given stays.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    for servers in SERVERS:
        servers.close()
    made = [paper for paper in PAPERS if Path(paper).exists() and Path(paper).stat().st_mtime >= STARTED]
    if made:
        print(f"The paper, at scale {PLAN.settings.scale}: {', '.join(made)}", file=sys.stderr)


onerror:
    for servers in SERVERS:
        servers.close()
    print("Stopped before the end. What is done is kept, logs are in results/logs/; the same call goes on.", file=sys.stderr)
