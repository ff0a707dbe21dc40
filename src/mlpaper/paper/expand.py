"""From the plan to the jobs of the paper."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from mlpaper import paths
from mlpaper.errors import ConfigurationError
from mlpaper.paper.jobs import ItemJob, MetricsJob, NumbersJob, StudyJob
from mlpaper.spec import RunSpec
from mlpaper.study import calibration
from mlpaper.study.ledger import AS_CODED, ClaimsJob
from mlpaper.study.plan import Plan, measured_files, published, referenced
from mlpaper.study.schema.items import CalibrationFigure, FigureSpec, TableSpec, VerdictsFigure
from mlpaper.study.schema.settings import Settings
from mlpaper.study.schema.study import Study

VERDICTS_CAPTION = (
    "All claims. The place of a mark is the probability that the claim holds; colour and shape are the verdict. From "
    "0.95 on a claim is supported or reproduced. It is contradicted or not reproduced where one of its conditions has "
    "0.05 or less, divided by their number. One seed decides nothing: marks of what leans are hollow. Of two marks in "
    "a row, the upper is the claim as written, the lower as coded. Words in place of a mark say why there is none. "
    "Numbers are ours and the published ones, in the units of the tables. The counts below the titles are of claims as "
    "written, with numbers of parameters and our own questions."
)
CALIBRATION_CAPTION = (
    "How far to trust a verdict. Left, the share of decided verdicts that are wrong, with the 5 % that are allowed; "
    "right, the share of claims that are decided; both with 95 % intervals. Claims of twelve rules are judged in "
    "simulated studies, whose truth is known. A wild run ends far away with one seed in three; its seeds show that, or "
    "they do not. In real runs the verdict of twenty seeds is taken as the truth, and parts of them are judged alone. "
    "No share is shown of fewer than ten verdicts."
)


def figure_jobs(plan: Plan) -> dict[str, ItemJob]:
    """The job of every figure, by its id: those of the whole paper, then those of its studies."""
    jobs = (_job(plan, study, figure) for study in plan.studies.values() for figure in study.figures)
    return {job.id: job for job in (*_figures_of_the_paper(plan), *jobs)}


def _figures_of_the_paper(plan: Plan) -> list[ItemJob]:
    """The figure of all claims, where there are any, and that of how far to trust a verdict."""
    titles = tuple({"study": study.name, "title": study.title} for study in plan.studies.values() if study.claims)
    if not titles:
        return []
    verdicts, trust = VerdictsFigure(caption=VERDICTS_CAPTION), CalibrationFigure(caption=CALIBRATION_CAPTION)
    return [
        ItemJob(study=None, item=verdicts, claims=paths.LEDGER, entries=titles, watermark=plan.scale.watermark),
        ItemJob(study=None, item=trust, entries=calibration.counted()),
    ]


def table_jobs(plan: Plan) -> dict[str, ItemJob]:
    """The job of every table, by its id."""
    jobs = (_job(plan, study, table) for study in plan.studies.values() for table in study.all_tables)
    return {job.id: job for job in jobs}


def numbers_job(plan: Plan) -> NumbersJob:
    """The job of `results/numbers.json`."""
    return NumbersJob(
        studies=tuple(_study_job(plan, study) for study in plan.studies.values()),
        scale=plan.settings.scale,
        watermark=plan.scale.watermark,
        seeds=plan.seeds,
        figures=tuple(job.id for job in _figures_of_the_paper(plan)),
        calibration=calibration.counted(),
        datasets={name: source.in_sentences or source.title for name, source in plan.datasets.items()},
        command=f"snakemake --cores all{config_arguments(plan.settings)}",
    )


def config_arguments(settings: Settings) -> str:
    """What must stand after a call of Snakemake to have these settings: nothing, or ` --config ...`, quoted."""
    defaults = Settings()
    changed = [
        shlex.quote(f"{key}={json.dumps(value, separators=(',', ':'))}")
        for key, value in settings.model_dump(mode="json").items()
        if value != defaults.model_dump(mode="json")[key] and key != "mirror"
    ]
    return f" --config {' '.join(changed)}" if changed else ""


def _study_job(plan: Plan, study: Study) -> StudyJob:
    spec = plan.pool_runs(study.name)
    provided = spec.dataset.name not in plan.without_data
    return StudyJob(
        name=study.name,
        title=study.title,
        summary=study.summary,
        authors=study.source.authors,
        year=study.source.year,
        citation=study.source.citation,
        code=study.source.code,
        runs={name: tuple(map(paths.run_folder, runs)) for name, runs in plan.names[study.name].items()},
        left_out=plan.absent(study.name, study.runs),
        descriptions={name: entry.description for name, entry in study.runs.items()},
        published=published(study, study.runs),
        figures=tuple(f"{study.name}-{figure.name}" for figure in study.figures),
        tables=tuple(f"{study.name}-{table.name}" for table in study.all_tables),
        table=paths.study_table(study.name),
        claims=paths.study_claims(study.name),
        pool=paths.pool_folder(spec.dataset) if provided else None,
        split=paths.split_file(spec) if provided else None,
    )


def claims_job(plan: Plan, study: Study) -> ClaimsJob:
    """The job of a study's ledger of claims."""
    names = plan.names[study.name]
    timed = {run for claim in study.claims if claim.rule in ("speed", "unstable") for run in claim.named_runs}
    return ClaimsJob(
        study=study.name,
        claims=study.claims,
        runs=tuple(study.runs),
        left_out={run: absent.because for run, absent in plan.absent(study.name, study.runs).items()},
        published=published(study, study.runs),
        table=paths.study_table(study.name),
        sampling=paths.study_sampling(study.name),
        official=plan.pool_runs(study.name).split.scheme == "official",
        not_comparable=_not_comparable(plan, study),
        histories={run: tuple(map(paths.run_folder, names[run])) for run in study.runs if run in timed},
        classes=len(plan.datasets[plan.pool_runs(study.name).dataset.name].classes),
    )


def _not_comparable(plan: Plan, study: Study) -> dict[str, str]:
    """Why published values cannot be compared, by run; of numbers of parameters by `<run>.parameters`."""
    found = {}
    for claim in study.claims:
        parameters = claim.metric_names == ("parameters",)
        for run in claim.named_runs if claim.rule == "value" or claim.level else ():
            for name in {run, f"{run}{AS_CODED}"} & study.runs.keys():
                if reason := plan.not_comparable(study.name, name, parameters):
                    found[f"{name}.parameters" if parameters else name] = reason
    return dict(sorted(found.items()))


def metrics_job(plan: Plan, study: Study) -> MetricsJob:
    """The job of a study's table of metrics."""
    runs = {name: tuple(map(paths.run_folder, runs)) for name, runs in plan.names[study.name].items()}
    return MetricsJob(runs=runs, measured=measured_runs(study))


def measured_runs(study: Study) -> dict[str, tuple[str, ...]]:
    """Which of robustness and gradients are measured, by run; runs without either are left out."""
    return {run: files for run, entry in study.runs.items() if (files := measured_files(entry))}


def _job(plan: Plan, study: Study, item: FigureSpec | TableSpec) -> ItemJob:
    runs = referenced(item)
    spec, measured = _data_of(plan, study, item, runs), measured_runs(study)
    shows_data = item.about_data and spec.dataset.name not in plan.without_data
    names = {plan.specs[study.name][run][0].dataset.name for run in runs} if item.kind == "settings" else ()
    return ItemJob(
        study=study.name,
        item=item,
        runs={run: tuple(map(paths.run_folder, plan.names[study.name][run])) for run in runs},
        left_out=plan.absent(study.name, runs),
        measured={run: measured[run] for run in runs if run in measured},
        pool=paths.pool_folder(spec.dataset) if shows_data else None,
        split=paths.split_file(spec) if shows_data else None,
        claims=paths.study_claims(study.name) if item.kind == "claims" else None,
        published=published(study, runs),
        entries=tuple(_entries(study, item, runs)),
        datasets={name: plan.datasets[name].title for name in sorted(names)},
        watermark=plan.scale.watermark,
    )


def _data_of(plan: Plan, study: Study, item: FigureSpec | TableSpec, runs: Iterable[str]) -> RunSpec:
    """A run that stands for the images that an item shows: those of its runs, or of the study's first."""
    specs = [plan.specs[study.name][run][0] for run in runs]
    if item.about_data and len({paths.split_file(spec) for spec in specs}) > 1:
        raise ConfigurationError(
            f"{study.name}: `{item.name}`: its runs are on different images; a {item.kind} needs one dataset and split"
        )
    return specs[0] if specs else plan.pool_runs(study.name)


def _entries(study: Study, item: FigureSpec | TableSpec, runs: Iterable[str]) -> Iterable[dict[str, Any]]:
    """What an item shows of the study file itself."""
    match item.kind:
        case "open-choices":
            return (choice.model_dump(mode="json") for choice in study.open_choices)
        case "differences":
            return (difference.model_dump(mode="json") for difference in study.differences)
        case "settings" | "runs":
            return ({"run": run, "description": study.runs[run].description} for run in runs)
        case "sweep":
            return (
                {
                    "sweep": name,
                    "label": sweep.label,
                    "logarithmic": sweep.logarithmic,
                    "run": sweep.run(name, point),
                    "point": point,
                    "position": sweep.position(point),
                }
                for name in item.sweeps
                for sweep in [study.sweeps[name]]
                for point in sweep.points
            )
        case "pareto":
            sweep_of = {sweep.run(name, point): name for name, sweep in study.sweeps.items() for point in sweep.points}
            return ({"run": run, "sweep": sweep_of[run]} for run in runs if run in sweep_of)
    return ()
