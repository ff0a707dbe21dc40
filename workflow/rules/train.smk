# arrays and split --> runs. A run is its specification, whose hash is in its folder's name, and the digest of the engine's code is
# a parameter: if either changes, it trains. `mlpaper train` takes a run from a store that has it (mlpaper/run_store.py).
rule train:
    input:
        images_of,
        meta=lambda wildcards: f"{pool_of(wildcards)}/meta.json",
        split=lambda wildcards: paths.split_file(spec_of(wildcards)),
    output:
        spec=f"{paths.RUN}/spec.json",
        outcome=f"{paths.RUN}/run.json",
        history=f"{paths.RUN}/history.parquet",
        steps=f"{paths.RUN}/steps.parquet",
        weights=f"{paths.RUN}/weights.npz",
    log:
        "results/logs/train/{run}.log",
    params:
        spec=lambda wildcards: SPEC_FILES[spec_of(wildcards).id],
        pool=pool_of,
        folder=lambda wildcards: paths.run_folder(wildcards.run),
        code=lambda wildcards: CODE["train" if spec_of(wildcards).engine == "mlpaper" else "twin"],
    group:
        TRAIN_GROUP
    threads: 1
    resources:
        mem_mb=on_cluster(memory_of_run, 1500),
        runtime=minutes_to("train"),
        gpu=lambda wildcards: GPU if spec_of(wildcards).engine == "mlpaper" else 0,
    message:
        "train {wildcards.run}"
    shell:
        "mlpaper --threads {threads} train --spec {params.spec:q} --pool {params.pool:q} --split {input.split:q}"
        " --folder {params.folder:q} --checkpoint results/checkpoints/{wildcards.run}.npz --code {params.code}"
        " --device {DEVICE} --placement {PLACEMENT} > {log:q} 2>&1"
