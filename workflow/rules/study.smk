# evaluations --> one tidy table per study --> claims with their verdicts
rule study:
    input:
        lambda wildcards: study_files(wildcards.study, "spec.json", "run.json", "history.parquet", "evaluation.json", "predictions.parquet"),
        lambda wildcards: [
            f"{paths.run_folder(run)}/{file}.parquet"
            for name, files in measured_runs(PLAN.studies[wildcards.study]).items()
            for run in PLAN.names[wildcards.study][name]
            for file in files
        ],
    output:
        table=paths.study_table("{study}"),
        sampling=paths.study_sampling("{study}"),
    log:
        "results/logs/study/{study}.log",
    params:
        job=lambda wildcards: METRICS_FILES[wildcards.study],
        code=CODE["study"],
    group:
        STUDY_GROUP
    message:
        "collect {wildcards.study}"
    shell:
        "mlpaper study --job {params.job:q} --output {output.table:q} --sampling {output.sampling:q} > {log:q} 2>&1"


rule claims:
    input:
        paths.study_table("{study}"),
        paths.study_sampling("{study}"),
        lambda wildcards: [
            f"{folder}/{name}"
            for folders in CLAIMS[wildcards.study].histories.values()
            for folder in folders
            for name in ("spec.json", "run.json", "history.parquet")
        ],
    output:
        paths.study_claims("{study}"),
    log:
        "results/logs/claims/{study}.log",
    params:
        job=lambda wildcards: CLAIMS_FILES[wildcards.study],
        code=CODE["judge"],
    group:
        STUDY_GROUP
    message:
        "decide the claims of {wildcards.study}"
    shell:
        "mlpaper judge --job {params.job:q} --output {output:q} > {log:q} 2>&1"


rule ledger:
    input:
        [paths.study_claims(study) for study in PLAN.studies],
    output:
        paths.LEDGER,
    log:
        "results/logs/ledger.log",
    message:
        "join the claims of all studies"
    shell:
        "mlpaper ledger --output {output:q} {input:q} > {log:q} 2>&1"
