# evaluations --> one tidy table per study
rule study:
    input:
        lambda wildcards: study_files(wildcards.study, "spec.json", "run.json", "history.parquet", "evaluation.json"),
        lambda wildcards: [
            f"{paths.run_folder(run)}/robustness.parquet"
            for name, entry in PLAN.studies[wildcards.study].runs.items()
            if entry.noise
            for run in PLAN.names[wildcards.study][name]
        ],
    output:
        paths.study_table("{study}"),
    log:
        "results/logs/study/{study}.log",
    params:
        runs=lambda wildcards: json.dumps(
            {name: [paths.run_folder(run) for run in runs] for name, runs in PLAN.names[wildcards.study].items()}
        ),
        noisy=lambda wildcards: ",".join(n for n, run in PLAN.studies[wildcards.study].runs.items() if run.noise),
        code=CODE["study"],
    message:
        "collect {wildcards.study}"
    shell:
        "mlpaper study --runs {params.runs:q} --noisy {params.noisy:q} --output {output:q} > {log:q} 2>&1"
