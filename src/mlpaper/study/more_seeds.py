"""Seeds that would probably decide undecided claims: what to run, how long it takes, and a file that asks for it.

How many seeds a claim needs is told by `mlpaper.study.forecast`. Runs of a claim are compared over the seeds that all
of them share, so all of its runs get the same seeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path
from textwrap import wrap

from mlpaper.errors import MlpaperError
from mlpaper.files import write_text
from mlpaper.study.estimate import Estimate, duration
from mlpaper.study.forecast import FIRST, MOST, Forecast, Hope, forecast
from mlpaper.study.ledger import ClaimsJob, measurements_of, readings
from mlpaper.study.plan import Plan
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.schema.settings import Settings

HEADER = "# More seeds for undecided claims, by `mlpaper seeds`."


@dataclass(frozen=True)
class Proposal:
    """An undecided claim, and the seeds that would probably decide it."""

    study: str
    claim: str
    found: Forecast
    seeds: Mapping[str, tuple[int, ...]]
    """Run to all of its seeds, of the runs that get more."""
    runs: frozenset[str]
    """Ids of the training runs to make."""

    @property
    def name(self) -> str:
        """`<study>.<claim>`."""
        return f"{self.study}.{self.claim}"


def propose(plan: Plan, jobs: Mapping[str, ClaimsJob]) -> list[Proposal]:
    """Every undecided claim of the plan's studies, from the results at hand; `jobs` are those of the ledger, by study.

    Raises
    ------
    MlpaperError
        The results of a study are missing, or are not those of this plan.
    """
    return [proposal for job in jobs.values() for proposal in _of_study(plan, job)]


def _of_study(plan: Plan, job: ClaimsJob) -> Iterator[Proposal]:
    _check_made(plan, job)
    measured = measurements_of(job)
    for entry in job.claims:
        for _, claim in readings(entry, job.runs):
            if (found := forecast(claim, measured)) is not None:
                wanted = first_seeds(measured.shared(claim.named_runs), found.seeds)
                yield _proposal(plan, job.study, claim, found, wanted)


def _proposal(plan: Plan, study: str, claim: ClaimSpec, found: Forecast, wanted: Sequence[int]) -> Proposal:
    seeds, runs = {}, set()
    for run in claim.named_runs:
        specs = plan.specs[study][run]
        made = [spec.seed for spec in specs]
        if more := [seed for seed in wanted if seed not in made]:
            seeds[run] = (*made, *more)
            runs |= {specs[0].model_copy(update={"seed": seed}).id for seed in more}
    return Proposal(study, claim.id, found, seeds, frozenset(runs - plan.runs.keys()))


def first_seeds(shared: Sequence[int], number: int) -> list[int]:
    """The seeds that a claim has, and then the smallest that it has not, up to a number.

    >>> first_seeds([0, 2], 4)
    [0, 2, 1, 3]
    """
    new = (seed for seed in count() if seed not in shared)
    return [*shared, *islice(new, max(0, number - len(shared)))]


def _check_made(plan: Plan, job: ClaimsJob) -> None:
    """The study's table of metrics is there, and is that of the plan's runs."""
    from mlpaper.files import read_frame

    for path in (Path(job.table), Path(job.sampling)):
        if not path.exists():
            raise MlpaperError(f"{path} is missing: make the results first, with snakemake and these settings")
    table = read_frame(Path(job.table))
    made = defaultdict[str, list[str]](list)
    for run, id in sorted(set(zip(table["run"], table["run_id"], strict=True))):
        made[run].append(id)
    planned = {run: sorted(ids) for run, ids in plan.names[job.study].items() if ids}
    for run in sorted(made.keys() | planned.keys()):
        there, asked = made.get(run, []), planned.get(run, [])
        if there != asked:
            raise MlpaperError(
                f"{job.table} was made with other settings: run `{run}` is {_few(there)} there, and {_few(asked)} by "
                "these settings; give the --config or --configfile that made the results, such as --config scale=demo"
            )


def _few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}" if names else "none"


def with_more_seeds(settings: Settings, studies: Iterable[str], proposals: Iterable[Proposal]) -> dict[str, list[int]]:
    """The setting `seeds` of these settings, with the seeds of all proposals."""
    if isinstance(settings.seeds, tuple):
        seeds = {study: list(settings.seeds) for study in studies}
    else:
        seeds = {} if settings.seeds == "auto" else {name: list(of) for name, of in settings.seeds.items()}
    return seeds | {name: list(of) for name, of in _by_run(proposals).items()}


def _by_run(proposals: Iterable[Proposal]) -> dict[str, tuple[int, ...]]:
    """`<study>.<run>` to its seeds, those of all proposals: each of them adds to the seeds that there are."""
    found: dict[str, tuple[int, ...]] = {}
    for proposal in proposals:
        for run, seeds in proposal.seeds.items():
            name = f"{proposal.study}.{run}"
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *seeds)))
    return found


GUARD = (
    "Run all of these seeds once, then stop: to look after every seed until a verdict suits makes wrong verdicts. In "
    "simulations, 2 % of the verdicts or less were wrong after one such round, no more than with three seeds alone."
)
TITLES: Mapping[Hope, str] = {
    "seeds": "A verdict, for or against, is likely with these seeds (seven in ten of such forecasts come true):",
    "first seeds": f"How much these vary between seeds is not known; {FIRST} seeds tell, and then the number to take:",
    "margin": f"Less likely: close to the margin, or of values that vary. Probability that {MOST} seeds decide:",
    "images": f"Less likely: the test images are too few. Probability that {MOST} seeds decide:",
    "other": "Seeds are not the cause:",
}


def lines(proposals: Sequence[Proposal], times: Estimate, cores: int) -> Iterator[str]:
    """The proposals in words, group by group, the cheapest first, and what all of them take."""
    if not proposals:
        yield "No claim is undecided."
    for hope, title in TITLES.items():
        group = [proposal for proposal in proposals if proposal.found.hope == hope]
        if group:
            yield title
            yield from (f"  {line}" for line in (_by_study if hope == "first seeds" else _by_claim)(group, times))
            yield ""
    if runs := _runs(proposals):
        one, several = times.words(runs), times.words(runs, cores=cores)
        yield f"All of them: {len(runs)} runs, {one} on one core, {several} with --cores {cores}."
        hopes = {proposal.found.hope for proposal in proposals}
        if "seeds" in hopes:
            yield GUARD
        if "first seeds" in hopes:
            yield f"Where {FIRST} seeds come first, call `mlpaper seeds` once more after them, with their settings."


def _by_claim(group: Sequence[Proposal], times: Estimate) -> Iterator[str]:
    for proposal in sorted(group, key=lambda it: (-it.found.chance, _seconds([it], times), it.name)):
        found = proposal.found
        if found.hope == "other":
            yield f"{proposal.name}: {found.remark}"
        elif found.hope == "seeds":
            cost = duration(_seconds([proposal], times))
            yield f"{found.now} -> {found.seeds:2} seeds {cost:>8}  {proposal.name}: {', '.join(proposal.seeds)}"
        elif found.now >= MOST:
            yield f"–     {proposal.name} ({found.now} seeds do not decide it)"
        else:
            yield f"{found.chance:.2f}  {proposal.name} ({found.now} seed{'s' if found.now > 1 else ''} now)"


def _by_study(group: Sequence[Proposal], times: Estimate) -> Iterator[str]:
    for study, found in groupby(group, key=lambda proposal: proposal.study):
        of_study = list(found)
        claims = f"{len(of_study)} claim{'s' if len(of_study) > 1 else ''}"
        yield f"{study}: {claims}, {len(_runs(of_study))} runs, {duration(_seconds(of_study, times))}"


def _runs(proposals: Iterable[Proposal]) -> frozenset[str]:
    return frozenset[str]().union(*(proposal.runs for proposal in proposals))


def _seconds(proposals: Iterable[Proposal], times: Estimate) -> float:
    """Of one core: each run once, and as long as it probably takes."""
    return sum(times.runs[run][1] for run in _runs(proposals) if run in times.runs)


def check_new(path: Path) -> None:
    """Raise an `MlpaperError` if a file is there that is not of `write`."""
    if path.exists() and not path.read_text(encoding="utf-8").startswith(HEADER):
        raise MlpaperError(f"{path} exists, and `mlpaper seeds` did not write it: give --write another name")


def write(path: Path, plan: Plan, proposals: Sequence[Proposal]) -> None:
    """Write the plan's settings with the seeds of all proposals as a file for `--configfile`, reasons as comments.

    All settings are there, so that no others are needed; but for the mirror, whose address may have a password.

    Raises
    ------
    MlpaperError
        There are no seeds to add, or the file exists and is another.
    """
    if not any(proposal.seeds for proposal in proposals):
        raise MlpaperError(f"more seeds would decide no claim: {path} is not written")
    check_new(path)
    reasons = defaultdict[str, list[str]](list)
    for proposal in proposals:
        for run in proposal.seeds:
            found = proposal.found
            reasons[f"{proposal.study}.{run}"].append(f"{proposal.claim} ({found.now} -> {found.seeds} seeds)")
    settings = plan.settings.model_dump(mode="json", exclude={"seeds", "mirror"})
    text = [
        HEADER,
        f"# With the results in place: snakemake --cores all --configfile {path}",
        *wrap(GUARD, 118, initial_indent="# ", subsequent_indent="# "),
    ]
    text += [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
    text.append("seeds:")
    for name, seeds in with_more_seeds(plan.settings, plan.studies, proposals).items():
        if name in reasons:
            text += wrap(
                f"for {', '.join(reasons[name])}",
                118,
                initial_indent="  # ",
                subsequent_indent="  # ",
                break_on_hyphens=False,
            )
        text.append(f"  {name}: {json.dumps(seeds)}")
    write_text(path, "\n".join(text) + "\n")
