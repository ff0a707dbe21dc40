"""The command line: one sub-command per rule of the pipeline, so that every line of a log can be run by hand.

Imports stand inside the commands: a job pays only for what it uses, and threads are limited before NumPy starts.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from mlpaper import __version__
from mlpaper.client import MORE_MEMORY
from mlpaper.errors import MlpaperError
from mlpaper.job_environment import die_with_snakemake, prepare_process
from mlpaper.paths import IMPORTED, LEDGER

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True)
_REPORT = click.option("--report", type=FOLDER, default="report", show_default=True, help="Templates and styles.")


def main() -> None:
    """Run the command line; an error that the user can mend is printed as a message."""
    try:
        cli(prog_name="mlpaper")
    except MlpaperError as error:
        click.echo(f"mlpaper: {error}", err=True)
        sys.exit(1)
    except MemoryError as error:
        click.echo(f"mlpaper: memory ran out ({str(error) or 'no more is told'}): {MORE_MEMORY}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlpaper")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of NumPy and numba.")
def cli(threads: int) -> None:
    """The steps of the pipeline, one by one. `snakemake` runs them all."""
    prepare_process(threads)
    die_with_snakemake()
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    for library in ("fontTools", "httpx"):  # the latter logs addresses whole, with passwords
        logging.getLogger(library).setLevel(logging.WARNING)


def _mirror(context: click.Context, parameter: click.Parameter, value: str) -> str | None:
    from mlpaper.data.mirror import parse_mirror

    try:
        return parse_mirror(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}, not {value!r}", context, parameter) from None


def _job(model: str) -> Callable[[Command], Command]:
    """The option that names the file of a job, as `mlpaper.job_files` writes it."""
    return click.option("--job", "job_file", type=FILE, required=True, help=f"File that holds a {model} as JSON.")


def _of_item(command: Command) -> Command:
    """Options of the commands that make one figure or table."""
    for option in (
        click.option("--config", default="", help="What follows the target in the command that makes it again."),
        click.option("--code", default="", help="Digest of the code that makes it; computed where it is not given."),
        click.option("--stem", type=FILE, required=True, help="Output path without ending."),
        _job("ItemJob"),
    ):
        command = option(command)
    return command


def _of_run(command: Command) -> Command:
    """Options of the commands that work on a trained run."""
    for option in (
        click.option("--split", type=FILE, required=True, help="Indices of the split (.npz)."),
        click.option("--pool", type=FOLDER, required=True, help="Folder of the dataset's arrays."),
        click.option("--run", type=FOLDER, required=True, help="Folder of the run."),
    ):
        command = option(command)
    return command


@cli.command()
@_job("Sources")
@click.option("--dataset", required=True)
@click.option("--file", "name", required=True, help="Our name of the file, such as train-images.gz.")
@click.option("--folder", type=FOLDER, required=True, help="Where the verified file goes.")
@click.option("--mirror", default="", callback=_mirror, help="A folder or URL laid out <dataset>/<file>, tried first.")
def fetch(job_file: Path, dataset: str, name: str, folder: Path, mirror: str | None) -> None:
    """Download one file of a dataset, or take it from a mirror or this machine, and verify it."""
    from mlpaper.data.fetch import fetch_file
    from mlpaper.data.sources import Sources
    from mlpaper.job_files import read

    fetch_file(read(job_file, Sources).datasets[dataset], name, folder, mirror)


@cli.command()
@_job("PoolJob")
@click.option("--raw", type=FOLDER, required=True, help="Folder of the verified files.")
@click.option("--folder", type=FOLDER, required=True, help="Where the arrays go.")
def prepare(job_file: Path, raw: Path, folder: Path) -> None:
    """Turn verified files into memory-mappable arrays."""
    from mlpaper.data.prepare import prepare as prepare_pool
    from mlpaper.data.sources import PoolJob
    from mlpaper.job_files import read

    job = read(job_file, PoolJob)
    prepare_pool(job.pool, job.content, raw, folder)


@cli.command()
@click.option("--spec", "spec_file", type=FILE, required=True, help="File with a PoolSplit or OfficialSplit as JSON.")
@click.option("--pool", type=FOLDER, required=True, help="Folder of the dataset's arrays.")
@click.option("--output", type=FILE, required=True)
def split(spec_file: Path, pool: Path, output: Path) -> None:
    """Split a pool into training, validation and test images, class by class."""
    from pydantic import TypeAdapter

    from mlpaper.data.dataset import Dataset
    from mlpaper.data.split import make_split
    from mlpaper.job_files import read
    from mlpaper.spec import OfficialSplit, PoolSplit, SplitSpec

    adapter: TypeAdapter[PoolSplit | OfficialSplit] = TypeAdapter(SplitSpec)
    spec = read(spec_file, adapter)
    dataset = Dataset.open(pool)
    make_split(dataset.labels, spec, dataset.part_ranges, dataset.classes).write(output)


@cli.command()
@click.option("--spec", "spec_file", type=FILE, required=True, help="File that holds a RunSpec as JSON.")
@click.option("--pool", type=FOLDER, required=True, help="Folder of the dataset's arrays.")
@click.option("--split", "split_file", type=FILE, required=True, help="Indices of the split (.npz).")
@click.option("--folder", type=FOLDER, required=True, help="Where the run's files go.")
@click.option("--checkpoint", type=FILE, required=True, help="Written while training, continued after a kill.")
@click.option("--checkpoint-seconds", type=float, default=30.0, show_default=True, help="Least time between two.")
@click.option("--code", default="", help="Digest of the code that trains; computed where it is not given.")
@click.option("--placement", type=click.Choice(["auto", "resident", "streamed"]), default="auto", show_default=True)
@DEVICE
def train(
    spec_file: Path,
    pool: Path,
    split_file: Path,
    folder: Path,
    checkpoint: Path,
    checkpoint_seconds: float,
    code: str,
    placement: str,
    device: str,
) -> None:
    """Train one run, or take it from a store of runs: results/imported, or the folder that MLPAPER_RUN_STORE names."""
    from mlpaper.devices import leased
    from mlpaper.digest import RULES, digest
    from mlpaper.engine import backend
    from mlpaper.engine.train_job import train_run
    from mlpaper.job_files import read
    from mlpaper.run_store import check_arrays, offer, take
    from mlpaper.spec import RunSpec

    spec = read(spec_file, RunSpec)
    code = code or digest(*RULES["train" if spec.engine == "mlpaper" else "twin"])
    if take(spec, code, pool, split_file, folder):
        checkpoint.unlink(missing_ok=True)
        return
    check_arrays(pool)
    with leased("cpu" if spec.engine == "torch" else device) as chosen:
        made = backend.select(chosen)
        train_run(spec, pool, split_file, folder, checkpoint, code, made, checkpoint_seconds, placement)
    offer(folder)


@cli.command()
@_of_run
def evaluate(run: Path, pool: Path, split: Path) -> None:
    """Predict a run's test set and score the predictions."""
    from mlpaper.evaluate.measure import evaluate_run
    from mlpaper.run_store import check_arrays

    check_arrays(pool)
    evaluate_run(run, pool, split)


@cli.command()
@click.option("--run", type=FOLDER, required=True, help="Folder of the run.")
@click.option("--pool", type=FOLDER, required=True, help="Folder of the dataset's arrays.")
def confusion(run: Path, pool: Path) -> None:
    """Count a run's confusions on the test set."""
    from mlpaper.evaluate.measure import confusion_of_run
    from mlpaper.files import read_json

    confusion_of_run(run, len(read_json(pool / "meta.json")["classes"]))


@cli.command()
@_of_run
@click.option("--sigmas", required=True, help="Standard deviations of the noise, separated by commas.")
@click.option("--noise-seeds", type=click.IntRange(min=1), required=True, help="Repetitions of every level.")
@DEVICE
def robustness(run: Path, pool: Path, split: Path, sigmas: str, noise_seeds: int, device: str) -> None:
    """Score a run on test images with Gaussian noise."""
    from mlpaper.devices import leased
    from mlpaper.engine import backend
    from mlpaper.evaluate.measure import robustness_of_run
    from mlpaper.run_store import check_arrays

    check_arrays(pool)
    with leased(device) as chosen:
        levels = [float(sigma) for sigma in sigmas.split(",")]
        robustness_of_run(run, pool, split, levels, noise_seeds, backend.select(chosen))


@cli.command()
@_of_run
def gradients(run: Path, pool: Path, split: Path) -> None:
    """Measure the gradient of every weight matrix of a run, at initialisation and after training."""
    from mlpaper.evaluate.gradients import gradients_of_run
    from mlpaper.run_store import check_arrays

    check_arrays(pool)
    gradients_of_run(run, pool, split)


@cli.command()
@click.option("--spec", "spec_file", type=FILE, required=True, help="File that holds a RunSpec as JSON.")
@click.option("--pool", type=FOLDER, required=True, help="Folder of the dataset's arrays.")
@click.option("--split", "split_file", type=FILE, required=True, help="Indices of the split (.npz).")
@click.option("--output", type=FILE, required=True)
@DEVICE
def placements(spec_file: Path, pool: Path, split_file: Path, output: Path, device: str) -> None:
    """Measure time and device memory with images resident on a GPU and streamed to it."""
    from mlpaper.devices import leased
    from mlpaper.engine import backend
    from mlpaper.evaluate.placements import placements_of_run
    from mlpaper.job_files import read
    from mlpaper.spec import RunSpec

    spec = read(spec_file, RunSpec)
    with leased(device) as chosen:
        placements_of_run(spec, pool, split_file, output, backend.select(chosen))


@cli.command()
@_job("MetricsJob")
@click.option("--output", type=FILE, required=True)
@click.option("--sampling", type=FILE, required=True, help="Covariances of scores by the choice of test images.")
def study(job_file: Path, output: Path, sampling: Path) -> None:
    """Collect the metrics of a study's runs into one tidy table."""
    import pyarrow as pa

    from mlpaper.files import write_parquet
    from mlpaper.job_files import read
    from mlpaper.paper.jobs import MetricsJob
    from mlpaper.study.results import Results
    from mlpaper.study.sampling import sampling_of

    job = read(job_file, MetricsJob)
    results = Results(job.runs)
    sampling_of(results).write(sampling)
    write_parquet(output, pa.Table.from_pandas(results.metrics(job.measured), preserve_index=False))


@cli.command()
@_job("ClaimsJob")
@click.option("--output", type=FILE, required=True)
def judge(job_file: Path, output: Path) -> None:
    """Decide the claims of one study."""
    from mlpaper.files import write_parquet
    from mlpaper.job_files import read
    from mlpaper.study.ledger import ClaimsJob, as_table, ledger_of

    write_parquet(output, as_table(ledger_of(read(job_file, ClaimsJob))))


@cli.command()
@click.option("--output", type=FILE, required=True)
@click.argument("studies", type=FILE, nargs=-1, required=True)
def ledger(output: Path, studies: tuple[Path, ...]) -> None:
    """Join the claims of studies into one ledger."""
    import pyarrow as pa

    from mlpaper.files import read_parquet, write_parquet

    write_parquet(output, pa.concat_tables(read_parquet(path) for path in studies))


@cli.command()
@click.option("--study", "only", multiple=True, help="Only these studies.")
@click.option("--verdict", "verdicts", multiple=True, help="Only these verdicts, such as contradicted.")
@click.option("--long", is_flag=True, help="Each claim with its sentence, source, rule and remark.")
@click.argument("file", type=FILE, default=Path(LEDGER))
def claims(file: Path, only: tuple[str, ...], verdicts: tuple[str, ...], long: bool) -> None:
    """Print the claims of the sources with their verdicts: each on a line, with our number and (the published one)."""
    from mlpaper.paper.claim_text import show
    from mlpaper.study.ledger import read_ledger

    show(read_ledger(file), only, verdicts, long)


@cli.command()
@_of_item
def figure(job_file: Path, stem: Path, code: str, config: str) -> None:
    """Draw one figure."""
    from dataclasses import asdict

    from mlpaper.digest import digest, item_modules
    from mlpaper.job_files import read
    from mlpaper.paper.figures import draw
    from mlpaper.paper.jobs import ItemJob
    from mlpaper.paper.provenance import write_sidecar

    job = read(job_file, ItemJob)
    links = [asdict(link) for link in draw(job, stem)]
    write_sidecar(job, "figure", stem, code or digest(*item_modules("figures", job.item.kind)), config, links)


@cli.command()
@_of_item
def table(job_file: Path, stem: Path, code: str, config: str) -> None:
    """Build one table."""
    from mlpaper.digest import digest, item_modules
    from mlpaper.job_files import read
    from mlpaper.paper.jobs import ItemJob
    from mlpaper.paper.provenance import write_sidecar
    from mlpaper.paper.tables import build

    job = read(job_file, ItemJob)
    build(job, stem)
    write_sidecar(job, "table", stem, code or digest(*item_modules("tables", job.item.kind)), config)


@cli.command()
@_job("NumbersJob")
@click.option("--output", type=FILE, required=True)
def numbers(job_file: Path, output: Path) -> None:
    """Collect every number that the prose may name."""
    from mlpaper.files import write_json
    from mlpaper.job_files import read
    from mlpaper.paper.jobs import NumbersJob
    from mlpaper.paper.numbers import numbers as collect

    write_json(output, collect(read(job_file, NumbersJob)))


def _of_paper(command: Command) -> Command:
    """Options of the commands that render the paper."""
    for option in (
        click.option("--columns", type=click.IntRange(1, 2), default=1, show_default=True, help="2 needs LaTeX."),
        click.option("--results", type=FOLDER, default="results", show_default=True),
        _REPORT,
    ):
        command = option(command)
    return command


@cli.command()
@_of_paper
@click.option("--pdf", type=click.Choice(["auto", "latex", "typst"]), default="auto", show_default=True)
@click.argument("output", type=FILE)
def paper(report: Path, results: Path, columns: Any, pdf: Any, output: Path) -> None:
    """Render the paper; the ending of OUTPUT (.md, .html, .tex, .pdf) says as what."""
    from mlpaper.paper.render import render

    target: Any = output.suffix.removeprefix(".")
    if target not in ("md", "html", "tex", "pdf"):
        raise click.BadParameter(f"{output} must end in .md, .html, .tex or .pdf")
    render(report, results, target, output, pdf, columns)


@cli.command()
@_of_paper
@click.argument("output", type=FILE)
def arxiv(report: Path, results: Path, columns: Any, output: Path) -> None:
    """Pack the paper's LaTeX source and its figures; OUTPUT ends in .tar.gz."""
    from mlpaper.paper.arxiv import pack

    pack(report, results, output, columns)


def _of_plan(command: Command) -> Command:
    """Options of the commands that plan as snakemake does."""
    for option in (
        click.argument("more", nargs=-1, metavar="KEY=VALUE..."),
        click.option("--configfile", type=FILE, default="config.yaml", show_default=True),
        click.option(
            "--config", "changes", multiple=True, metavar="KEY=VALUE", help="As for snakemake: scale=demo seeds=[0]"
        ),
    ):
        command = option(command)
    return command


def _timing(runs: list[str]) -> Iterable[str]:
    """The runs one by one, with a progress bar in a terminal."""
    from rich.console import Console
    from rich.progress import track

    errors = Console(stderr=True)
    return track(runs, "timing", console=errors, transient=True, disable=not errors.is_terminal)


@cli.command()
@click.option("--cores", type=click.IntRange(min=1), help="Jobs at a time.  [default: the cores of this machine]")
@_of_plan
def estimate(cores: int | None, changes: tuple[str, ...], configfile: Path, more: tuple[str, ...]) -> None:
    """Tell how long what is left of the plan takes; every kind of training step is timed for a moment."""
    from mlpaper.machine import usable_cores
    from mlpaper.study.estimate import configuration, lines
    from mlpaper.study.estimate import estimate as estimate_plan
    from mlpaper.study.plan import left_out_notice, load_plan

    plan = load_plan(configuration(configfile, (*changes, *more)), configfile.parent / "workflow", [configfile])
    if notice := left_out_notice(plan):
        click.echo(notice, err=True)
    for line in lines(plan, estimate_plan(plan, Path(), watch=_timing), cores or usable_cores()):
        click.echo(line)


@cli.command()
@click.option("--cores", type=click.IntRange(min=1), help="Jobs at a time.  [default: the cores of this machine]")
@click.option("--write", "file", type=FILE, help="Write a file for --configfile that asks for these seeds.")
@_of_plan
def seeds(
    cores: int | None, file: Path | None, changes: tuple[str, ...], configfile: Path, more: tuple[str, ...]
) -> None:
    """List undecided claims, with the number of seeds that would probably decide each and the time these take."""
    from mlpaper.machine import usable_cores
    from mlpaper.paper.expand import claims_job
    from mlpaper.study.estimate import configuration
    from mlpaper.study.estimate import estimate as estimate_plan
    from mlpaper.study.more_seeds import check_new, lines, propose, with_more_seeds, write
    from mlpaper.study.plan import load_plan

    config, workflow = configuration(configfile, (*changes, *more)), configfile.parent / "workflow"
    plan = load_plan(config, workflow, [configfile])
    if file is not None:
        check_new(file)  # before the time that forecasts take
    proposals = propose(plan, {name: claims_job(plan, study) for name, study in plan.studies.items()})
    config["seeds"] = with_more_seeds(plan.settings, plan.studies, proposals)
    times = estimate_plan(load_plan(config, workflow), Path(), watch=_timing)
    for line in lines(proposals, times, cores or usable_cores()):
        click.echo(line)
    if file is not None:
        write(file, plan, proposals)
        click.echo(f"snakemake --cores {cores or usable_cores()} --configfile {file} makes them")


@cli.command("export")
@click.option("--output", type=FILE, required=True, help="The crate, such as runs.zip.")
@_of_plan
def export_runs(output: Path, changes: tuple[str, ...], configfile: Path, more: tuple[str, ...]) -> None:
    """Pack the runs of the configuration, with specifications, hashes and provenance, as an RO-Crate for others."""
    from mlpaper.crate import export
    from mlpaper.study.estimate import configuration
    from mlpaper.study.plan import load_plan

    project = configfile.parent
    plan = load_plan(configuration(configfile, (*changes, *more)), project / "workflow", [configfile])
    click.echo(f"{export(plan, project, output)} runs are in {output}: mlpaper import {output}, in another clone")


@cli.command("import")
@click.option("--accept-other-code", is_flag=True, help="Also take runs that another version of the code trained.")
@click.argument("crate", type=FILE)
def import_runs(crate: Path, accept_other_code: bool) -> None:
    """Take the runs of a crate that `mlpaper export` made, after checking them: snakemake does not train them again."""
    from mlpaper import crate as crates

    found = crates.import_runs(crate, Path(IMPORTED), accept_other_code)
    click.echo(
        f"{found.runs} runs of {crate} are in {IMPORTED}, {found.new} of them new; snakemake takes them from there"
    )
    for code, count in found.other_code.items():
        click.echo(f"{count} of them were trained by other code, of digest {code}; the paper says so")


@cli.command()
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Finished results.")
@click.option("--into", type=FOLDER, default=".", show_default=True, help="Folder of the repository.")
def publish(results: Path, into: Path) -> None:
    """Write the paper, its data as CSV, the gallery, and what README.md and docs/results.md say of them."""
    from mlpaper.paper.publish import publish as write

    for path in write(results, into):
        click.echo(path)


@cli.group()
def new() -> None:
    """Write a file to start from: a study, or a dataset of your own."""


@new.command("study")
@click.option("--dataset", default="mnist", show_default=True, help="What its runs are trained on.")
@click.argument("name")
def new_study(name: str, dataset: str) -> None:
    """Write workflow/studies/NAME.yaml: a whole study, with comments, that builds at once."""
    from mlpaper.study.new_study import new_study as write

    path = write(name, dataset, Path("workflow"))
    click.echo(f"{path} is a study that builds: snakemake --cores 4 --config scale=demo studies='[{name}]'")


@new.command("dataset")
@click.option("--from", "file", type=FILE, required=True, help="An .npz, a table (.csv), or training images in IDX.")
@click.option("--shape", metavar="HEIGHTxWIDTH[x3]", help="Of an image, where the file has vectors.")
@click.argument("name")
def new_dataset(name: str, file: Path, shape: str | None) -> None:
    """Describe the dataset NAME in workflow/datasets/NAME.yaml, by what a file holds."""
    from mlpaper.data.new_dataset import new_dataset as write
    from mlpaper.data.new_dataset import told

    for line in told(write(name, file, Path(), shape)):
        click.echo(line)


@cli.command()
def datasets() -> None:
    """List the datasets of this project: images, shape, classes, and where their files are."""
    from mlpaper.data.catalog import FOLDER, Catalog
    from mlpaper.data.listing import table_of

    for line in table_of(Catalog(Path("workflow") / FOLDER)):
        click.echo(line)


@cli.command()
@click.option("--folder", type=FOLDER, default=Path("docs/schema"), show_default=True)
def schema(folder: Path) -> None:
    """Write the JSON Schemas of config.yaml, studies and scales, which editors complete and check them with."""
    from mlpaper.study.json_schema import write_schemas

    for path in write_schemas(folder):
        click.echo(path)


@cli.command()
@click.option("--reference", type=FOLDER, default="tests/reference", show_default=True, help="Recorded results.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this run; may be given again.")
@click.option(
    "--mirror",
    default="",
    callback=_mirror,
    help="A folder or URL laid out <dataset>/<file>, for runs on data that are not in data/.",
)
@click.option("--record", "recording", is_flag=True, help="Write what comes out here as the reference.")
def verify(reference: Path, only: tuple[str, ...], mirror: str | None, recording: bool) -> None:
    """Train a sample of runs and compare them with what was recorded; exit code 1 if any is different or none ran."""
    from mlpaper import verify as verifying

    logging.getLogger("mlpaper").setLevel(logging.WARNING)
    references = verifying.read(reference)
    if recording and only:
        raise click.UsageError("a reference is recorded whole: leave --only out")
    runs = verifying.chosen(references, only)
    with verifying.prepared(Path(), mirror) as data:
        if recording:
            stamp = verifying.here()
            for file, content in references.items():
                verifying.record(file, content, data, stamp, click.echo)
            return
        for line in verifying.origins(references):
            click.echo(line)
        verdicts = []
        for check in verifying.verify(runs, data):
            verdicts.append(check.verdict)
            click.echo(f"{check.name:<16} {check.verdict:<10} {'; '.join(check.details)}".rstrip())
    click.echo(verifying.summary(verdicts))
    if "different" in verdicts or not {"identical", "equal"} & set(verdicts):
        sys.exit(1)
