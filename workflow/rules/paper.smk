# study tables and evaluations --> figures, tables, numbers --> paper
rule figure:
    input:
        lambda wildcards: inputs(item_of(FIGURES)(wildcards)),
        lambda wildcards: [ancient(file) for file in arrays(item_of(FIGURES)(wildcards))],
    output:
        svg=shown(f"{paths.FIGURE}.svg", "figure", FIGURES),
        pdf=f"{paths.FIGURE}.pdf",
        provenance=f"{paths.FIGURE}.json",
    log:
        "results/logs/figure/{item}.log",
    params:
        job=lambda wildcards: FIGURE_FILES[wildcards.item],
        code=lambda wildcards: FIGURE_CODE[wildcards.item],
        stem=paths.FIGURE,
        caption=lambda wildcards: prose_rst(item_of(FIGURES)(wildcards).item.caption),
    group:
        ITEM_GROUP
    message:
        "figure {wildcards.item}"
    shell:
        "mlpaper figure --job {params.job:q} --stem {params.stem:q} --code {params.code} --config={CONFIG:q}"
        " > {log:q} 2>&1"


rule table:
    input:
        lambda wildcards: inputs(item_of(TABLES)(wildcards)),
        lambda wildcards: [ancient(file) for file in arrays(item_of(TABLES)(wildcards))],
    output:
        markdown=f"{paths.TABLE}.md",
        latex=f"{paths.TABLE}.tex",
        page=shown(f"{paths.TABLE}.html", "table", TABLES),
        values=f"{paths.TABLE}.parquet",
        provenance=f"{paths.TABLE}.json",
    log:
        "results/logs/table/{item}.log",
    params:
        job=lambda wildcards: TABLE_FILES[wildcards.item],
        code=lambda wildcards: TABLE_CODE[wildcards.item],
        stem=paths.TABLE,
        caption=lambda wildcards: prose_rst(item_of(TABLES)(wildcards).item.caption),
    group:
        ITEM_GROUP
    message:
        "table {wildcards.item}"
    shell:
        "mlpaper table --job {params.job:q} --stem {params.stem:q} --code {params.code} --config={CONFIG:q}"
        " > {log:q} 2>&1"


rule numbers:
    input:
        [path(study) for study in PLAN.studies for path in (paths.study_table, paths.study_claims)],
        [file for study in PLAN.studies for file in study_files(study, "spec.json", "run.json")],
        [file for study in NUMBERS.studies if study.pool for file in (f"{study.pool}/meta.json", study.split)],
        [ancient(file) for study in NUMBERS.studies if study.pool for file in paths.pool_arrays(study.pool)],
    output:
        "results/numbers.json",
    log:
        "results/logs/numbers.log",
    params:
        job=JOBS.add(NUMBERS),
        code=CODE["numbers"],
    message:
        "collect the numbers of the paper"
    shell:
        "mlpaper numbers --job {params.job:q} --output {output:q} > {log:q} 2>&1"


rule paper:
    input:
        numbers="results/numbers.json",
        figures=expand(f"{paths.FIGURE}.{{ending}}", item=FIGURES, ending=["svg", "pdf", "json"]),
        tables=expand(f"{paths.TABLE}.{{ending}}", item=TABLES, ending=["md", "json"]),
        templates=sorted(str(path) for path in REPORT.rglob("*") if path.suffix in TEMPLATES),
    output:
        report(
            "results/paper.{ending}",
            caption="../report/paper.rst",
            category="The paper",
            labels=lambda wildcards: {"paper": ENDINGS[wildcards.ending]},
        ),
    log:
        "results/logs/paper-{ending}.log",
    params:
        pdf=lambda wildcards: PLAN.settings.pdf if wildcards.ending == "pdf" else "auto",
        report=lambda wildcards: str(REPORT),
        columns=1,
        code=CODE["paper"],
    message:
        "render {output}"
    shell:
        "mlpaper paper --report {params.report:q} --pdf {params.pdf} --columns {params.columns} {output:q} > {log:q} 2>&1"


# Only where it is asked for.
use rule paper as columns with:
    output:
        "results/paper-two-columns.{ending}",
    wildcard_constraints:
        ending="tex|pdf",
    log:
        "results/logs/paper-two-columns-{ending}.log",
    params:
        pdf="latex",
        report=lambda wildcards: str(REPORT),
        columns=2,
        code=CODE["paper"],


# Only where it is asked for.
rule arxiv:
    input:
        rules.paper.input,
    output:
        "results/paper-arxiv.tar.gz",
    log:
        "results/logs/paper-arxiv.log",
    params:
        report=lambda wildcards: str(REPORT),
        code=CODE["arxiv"],
    message:
        "pack {output}"
    shell:
        "mlpaper arxiv --report {params.report:q} {output:q} > {log:q} 2>&1"
