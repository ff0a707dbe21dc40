# runs --> evaluations, on the test set and, for gradients, on training images
rule evaluate:
    input:
        images_of,
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        split=lambda wildcards: paths.split_file(spec_of(wildcards)),
        weights=f"{paths.RUN}/weights.npz",
        outcome=f"{paths.RUN}/run.json",
    output:
        predictions=f"{paths.RUN}/predictions.parquet",
        calibration=f"{paths.RUN}/calibration.parquet",
        evaluation=f"{paths.RUN}/evaluation.json",
    log:
        "results/logs/evaluate/{run}.log",
    params:
        pool=pool_of,
        folder=lambda wildcards: paths.run_folder(wildcards.run),
        code=CODE["evaluate"],
    group:
        MEASURE_GROUP
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("evaluate"),
    message:
        "evaluate {wildcards.run}"
    shell:
        "mlpaper --threads {threads} evaluate --run {params.folder:q} --pool {params.pool:q} --split {input.split:q}"
        " > {log:q} 2>&1"


rule confusion:
    input:
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        predictions=f"{paths.RUN}/predictions.parquet",
    output:
        f"{paths.RUN}/confusion.npz",
    log:
        "results/logs/confusion/{run}.log",
    params:
        pool=pool_of,
        folder=lambda wildcards: paths.run_folder(wildcards.run),
        code=CODE["confusion"],
    group:
        MEASURE_GROUP
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("confusion"),
    message:
        "confusion matrix of {wildcards.run}"
    shell:
        "mlpaper confusion --run {params.folder:q} --pool {params.pool:q} > {log:q} 2>&1"


rule robustness:
    input:
        images_of,
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        split=lambda wildcards: paths.split_file(spec_of(wildcards)),
        weights=f"{paths.RUN}/weights.npz",
        outcome=f"{paths.RUN}/run.json",
    output:
        f"{paths.RUN}/robustness.parquet",
    log:
        "results/logs/robustness/{run}.log",
    params:
        pool=pool_of,
        folder=lambda wildcards: paths.run_folder(wildcards.run),
        sigmas=lambda wildcards: ",".join(map(str, NOISE[wildcards.run])),
        seeds=PLAN.scale.noise_seeds,
        code=CODE["robustness"],
    group:
        MEASURE_GROUP
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("robustness"),
        gpu=GPU,
    message:
        "robustness of {wildcards.run}"
    shell:
        "mlpaper --threads {threads} robustness --run {params.folder:q} --pool {params.pool:q} --split {input.split:q}"
        " --sigmas {params.sigmas} --noise-seeds {params.seeds} --device {DEVICE} > {log:q} 2>&1"


rule gradients:
    input:
        images_of,
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        split=lambda wildcards: paths.split_file(spec_of(wildcards)),
        weights=f"{paths.RUN}/weights.npz",
        outcome=f"{paths.RUN}/run.json",
    output:
        f"{paths.RUN}/gradients.parquet",
    log:
        "results/logs/gradients/{run}.log",
    params:
        pool=pool_of,
        folder=lambda wildcards: paths.run_folder(wildcards.run),
        code=CODE["gradients"],
    group:
        MEASURE_GROUP
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("gradients"),
    message:
        "gradients of {wildcards.run}"
    shell:
        "mlpaper --threads {threads} gradients --run {params.folder:q} --pool {params.pool:q} --split {input.split:q}"
        " > {log:q} 2>&1"


# On a machine without a GPU there is nothing to measure, and the file has no rows.
rule placements:
    input:
        images_of,
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        split=lambda wildcards: paths.split_file(spec_of(wildcards)),
    output:
        f"{paths.RUN}/placements.parquet",
    log:
        "results/logs/placements/{run}.log",
    params:
        spec=lambda wildcards: SPEC_FILES[spec_of(wildcards).id],
        pool=pool_of,
        code=CODE["placements"],
    group:
        MEASURE_GROUP
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("placements"),
        gpu=GPU,
    message:
        "placements of {wildcards.run}"
    shell:
        "mlpaper --threads {threads} placements --spec {params.spec:q} --pool {params.pool:q} --split {input.split:q}"
        " --output {output:q} --device {DEVICE} > {log:q} 2>&1"
