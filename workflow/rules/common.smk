# The plan of this configuration, and the only helpers of the rules.
#
# `snakemake --lint` has two kinds of remarks here, both on purpose:
# - No conda environment per rule: all rules call the same package, whose environment is locked and set up once
#   (uv.lock).
# - SOURCES, MIRROR, DEVICE, PLACEMENT and CONFIG in the shell commands of fetch, train, robustness, placements, figure and table: they
#   do not change what is made (a download is fixed by its hash, devices agree up to rounding and are recorded with the run,
#   CONFIG only tells how to make it again), so they must not be parameters, whose change would make everything again.
import gc
import os
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from mlpaper import folder_lock, paths, run_store
from mlpaper.digest import RULES, digest, item_modules
from mlpaper.devices import visible_devices, why_no_gpu
from mlpaper.errors import MlpaperError
from mlpaper.job_environment import caches, shell_prefix
from mlpaper.job_files import JobFiles
from mlpaper.data.sources import PoolJob, Sources, fingerprint
from mlpaper.markup import prose_rst, report_label
from mlpaper.paper.expand import (
    claims_job,
    config_arguments,
    figure_jobs,
    measured_runs,
    metrics_job,
    numbers_job,
    table_jobs,
)
from mlpaper.paper.jobs import arrays, inputs
from mlpaper.paper.specimen import check_texts
from mlpaper.preflight import check_folders, check_temporary
from mlpaper.server import open_servers
from mlpaper.slurm import keep_asking
from mlpaper.study.plan import left_out_notice, load_plan, noise_levels
from mlpaper.study.work import Images, minutes, work_of

min_version("9.10")
keep_asking()
gc.set_threshold(200_000, 100, 100)  # what is planned stays; to scan it for garbage takes an eighth of the time of planning

# Rules call `mlpaper`: this project's, in this Python.
# In a job of a cluster, which may hold many runs, as well: there, on a disk of the node.
TEMPORARY = tempfile.TemporaryDirectory(prefix="mlpaper-") if workflow.remote_exec else None
SOCKET = Path(TEMPORARY.name, "job") if TEMPORARY else Path(f".snakemake/mlpaper-{os.getpid()}")
VARIABLES, NOTICES = caches(Path(".snakemake/caches"))
shell.prefix(shell_prefix(SOCKET, VARIABLES))
if workflow.is_main_process:
    try:
        check_folders()
        run_store.check_shared()
        if not workflow.output_settings.dryrun:
            check_temporary()
            folder_lock.hold(say=lambda line: print(line, file=sys.stderr))
    except MlpaperError as error:
        raise WorkflowError(str(error)) from None
if workflow.is_main_process:
    for notice in NOTICES:
        print(notice, file=sys.stderr)

try:
    PLAN = load_plan(config, Path(workflow.basedir) / "workflow", workflow.configfiles)
    FIGURES, TABLES = figure_jobs(PLAN), table_jobs(PLAN)
    if workflow.is_main_process:
        check_texts(PLAN, Path(workflow.basedir) / "workflow")
except MlpaperError as error:
    raise WorkflowError(str(error)) from None

if (notice := left_out_notice(PLAN)) and workflow.is_main_process:
    print(notice, file=sys.stderr)

STARTED = time.time()
SERVERS = []
CONFIG = config_arguments(PLAN.settings)
MIRROR = PLAN.settings.mirror or ""
DEVICE, PLACEMENT = PLAN.settings.device, PLAN.settings.placement
WHY_NO_GPU = None if DEVICE == "cpu" else why_no_gpu()
if WHY_NO_GPU is None and DEVICE != "cpu" and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", len(visible_devices()))  # no more jobs at a time than there are devices
if WHY_NO_GPU and workflow.is_main_process and (DEVICE == "gpu" or shutil.which("nvidia-smi")):
    print(f"device: {DEVICE}: no GPU for jobs on this machine, since {WHY_NO_GPU}.", file=sys.stderr)
GPU = int(DEVICE == "gpu" or (DEVICE == "auto" and WHY_NO_GPU is None))  # devices that a job takes which can use one
REPORT = Path(os.path.relpath(Path(workflow.basedir) / "report"))
CLAIMS = {name: claims_job(PLAN, study) for name, study in PLAN.studies.items()}
FORMATS = ["html", "md", "tex"] + ([] if PLAN.settings.pdf == "none" else ["pdf"])
PAPERS = [f"results/paper.{ending}" for ending in FORMATS]
ENDINGS = {"html": "HTML", "pdf": "PDF", "tex": "LaTeX", "md": "Markdown"}
TEMPLATES = {".j2", ".bib", ".css", ".js", ".lua", ".html", ".md", ".tex", ".typ"}
NUMBERS = numbers_job(PLAN)
SPECS = PLAN.runs | PLAN.left_out
POOLS = {spec.dataset.id: spec.dataset for spec in SPECS.values()}
SPLITS = {paths.split_file(spec): spec.split for spec in SPECS.values()}
NOISE = noise_levels(PLAN)
# What jobs are told, by files; `onstart` writes them.
JOBS = JobFiles()
SOURCES = JOBS.add(Sources(datasets=PLAN.datasets))
POOL_FILES = {pool: JOBS.add(PoolJob(pool=spec, content=PLAN.datasets[spec.name].content())) for pool, spec in POOLS.items()}
SPLIT_FILES = {split: JOBS.add(spec) for split, spec in SPLITS.items()}
SPEC_FILES = {run: JOBS.add(spec) for run, spec in SPECS.items()}
METRICS_FILES = {name: JOBS.add(metrics_job(PLAN, study)) for name, study in PLAN.studies.items()}
CLAIMS_FILES = {name: JOBS.add(job) for name, job in CLAIMS.items()}
FIGURE_FILES = {name: JOBS.add(job) for name, job in FIGURES.items()}
TABLE_FILES = {name: JOBS.add(job) for name, job in TABLES.items()}
CODE = {rule: digest(*modules) for rule, modules in RULES.items()}
FIGURE_CODE = {name: digest(*item_modules("figures", job.item.kind)) for name, job in FIGURES.items()}
TABLE_CODE = {name: digest(*item_modules("tables", job.item.kind)) for name, job in TABLES.items()}


wildcard_constraints:
    pool="|".join(POOLS),
    split="split-[0-9a-f]{8}",
    dataset="[a-z][a-z0-9_]*",
    file=r"[a-z-]+\.(gz|npz|csv)",
    run="[a-z0-9_.]+-[a-z0-9_.-]+-[0-9a-f]{8}",
    item="[a-z0-9-]+",
    study="|".join(PLAN.studies),
    ending="html|md|tex|pdf",


def spec_of(wildcards):
    """The specification of a run of this configuration; asked for by its target, one that is left out is run."""
    if wildcards.run not in SPECS:
        raise WorkflowError(f"{wildcards.run} is not a run of this configuration; snakemake -n lists those that are")
    return SPECS[wildcards.run]


def pool_of(wildcards):
    """Folder of a run's dataset."""
    return paths.pool_folder(spec_of(wildcards).dataset)


def images_of(wildcards):
    """The arrays of a run's dataset. Their content is in meta.json: a touched array is not a changed one."""
    return [ancient(file) for file in paths.pool_arrays(pool_of(wildcards))]


def raw_files(wildcards, ending=""):
    """The verified files that a pool is made of; none where a package brings the images along."""
    pool = POOLS[wildcards.pool]
    return [f"{paths.raw_folder(pool.name)}/{name}{ending}" for name in PLAN.datasets[pool.name].files(pool.parts)]


def fingerprint_of(wildcards):
    """What decides the bytes of a file to fetch."""
    files = PLAN.datasets[wildcards.dataset].files() if wildcards.dataset in PLAN.datasets else {}
    if wildcards.file not in files:
        raise WorkflowError(f"no dataset of this configuration has data/raw/{wildcards.dataset}/{wildcards.file}")
    return fingerprint(files[wildcards.file])


def item_of(jobs):
    """The job of a figure or table of this configuration, by the wildcard `item`."""

    def job(wildcards):
        if wildcards.item not in jobs:
            raise WorkflowError(f"there is no {wildcards.item}; there are {', '.join(jobs)}")
        return jobs[wildcards.item]

    return job


def study_title(study):
    """The title of a study, or what stands for it where something belongs to none."""
    return PLAN.studies[study].title if study else "The paper"


def shown(file, kind, jobs):
    """The file of a figure or table, shown in Snakemake's report under its study, with its title and caption."""
    job = item_of(jobs)

    def labels(wildcards):
        runs = job(wildcards).runs
        names = ", ".join(runs) or "none"
        return {kind: report_label(job(wildcards).item.title), "runs": names if len(names) < 120 else f"{len(runs)} runs"}

    return report(
        file,
        caption=f"../report/{kind}.rst",
        category=lambda wildcards: report_label(study_title(job(wildcards).study)),
        subcategory=f"{kind.capitalize()}s",
        labels=labels,
    )


def study_files(study, *names):
    """Files of all runs of a study."""
    return [f"{paths.run_folder(run)}/{name}" for runs in PLAN.names[study].values() for run in runs for name in names]


# On a cluster: what jobs ask for, and which of them share one. A profile's `group-components` says how many share. Elsewhere, and in
# a job of the cluster, to find this out for each job would take a tenth of the time that planning takes.
CLUSTER = workflow.resource_settings.nodes is not None and not workflow.remote_exec
STUDY_GROUPS = {study: f"study-{study}" for study in PLAN.studies} | {None: "paper"}
workflow.parent_groupids.update(dict.fromkeys(STUDY_GROUPS.values(), "study"))


def on_cluster(value, elsewhere=None):
    """A directive's value."""
    return value if CLUSTER else elsewhere


@cache
def work(run):
    """What a run takes."""
    spec = SPECS[run]
    return work_of(spec, images_in(spec.dataset))


@cache
def images_in(pool):
    """The size of a pool."""
    source = PLAN.datasets[pool.name]
    counts = source.counts(pool.parts)
    return Images(sum(counts.values()), source.pixels, len(source.classes), counts.get("test", 0))


def memory_of_run(wildcards, attempt):
    """Megabytes; more after a failure, which may have been for want of it."""
    return attempt * work(spec_of(wildcards).id).memory


def memory_of_pool(wildcards, attempt):
    """Megabytes, to read a pool and write its arrays: Snakemake and its helpers alone take some 540."""
    size = images_in(POOLS[wildcards.pool])
    return attempt * (1000 + 4 * size.total * size.pixels // 1_000_000)


def minutes_to(rule):
    """The time of a rule's job for a run; more after a failure, which may have been for want of it."""

    def asked(wildcards, attempt):
        run = spec_of(wildcards).id
        tests = 1 + len(NOISE.get(run, ())) * PLAN.scale.noise_seeds if rule == "robustness" else 1
        return attempt * minutes(work(run).train if rule == "train" else tests * work(run).test)

    return on_cluster(asked, 120)


def run_group(wildcards):
    """Short runs share a job; a long one has its own, and continues from its checkpoint if that is killed."""
    return work(spec_of(wildcards).id).group


TRAIN_GROUP = on_cluster(run_group)
MEASURE_GROUP = on_cluster(lambda wildcards: run_group(wildcards) or "measurements")
DATA_GROUP = on_cluster("data")
STUDY_GROUP = on_cluster(lambda wildcards: STUDY_GROUPS[wildcards.study])
ITEM_GROUP = on_cluster(lambda wildcards: STUDY_GROUPS[item_of(FIGURES | TABLES)(wildcards).study])
LOCAL = {"all", "fetch", "ledger", "numbers", "paper", "columns", "arxiv"}
