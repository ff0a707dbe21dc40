# arrays and split --> runs. A run is its specification, whose hash is in its folder's name, and the digest of the engine's code is
# a parameter: if either changes, it trains. Whether seeds are one job each or one together is not compared, since Snakemake leaves
# out parameters that depend on input or output: switching it does not retrain existing runs.
TRAIN = (
    "mlpaper --threads {threads} train {params.runs:q} --pool {params.pool:q} --split {input.split:q}"
    " --checkpoint {params.checkpoint:q} --code {params.code} --device {DEVICE} --placement {PLACEMENT} > {log:q} 2>&1"
)


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
        runs=lambda wildcards, output: trained(output),
        checkpoint=lambda wildcards, output: f"results/checkpoints/{wildcards.run}.npz",
        pool=lambda wildcards, input: str(Path(input.meta).parent),
        code=lambda wildcards: CODE["train" if spec_of(wildcards).engine == "mlpaper" else "twin"],
    threads: 1
    resources:
        mem_mb=1500,
        runtime=120,
        gpu=lambda wildcards: GPU if spec_of(wildcards).engine == "mlpaper" else 0,
    message:
        "train {wildcards.run}"
    shell:
        TRAIN


# The seeds of a run together, with `population: true`: a rule for each run, since one pattern does not fit its folders' names.
# For their files Snakemake takes these rules and not the one above, since it prefers a rule without wildcards.
for population in POPULATIONS:
    first, folders = population[0], [paths.run_folder(spec.id) for spec in population]

    rule:
        name:
            f"train_population_{re.sub(r'[^a-z0-9]+', '_', first.id)}"
        input:
            [ancient(file) for file in paths.pool_arrays(paths.pool_folder(first.dataset))],
            meta=f"{paths.pool_folder(first.dataset)}/meta.json",
            split=paths.split_file(first),
        output:
            spec=[f"{folder}/spec.json" for folder in folders],
            outcome=[f"{folder}/run.json" for folder in folders],
            history=[f"{folder}/history.parquet" for folder in folders],
            steps=[f"{folder}/steps.parquet" for folder in folders],
            weights=[f"{folder}/weights.npz" for folder in folders],
        log:
            f"results/logs/train/{first.id}-and-{len(folders) - 1}-more.log",
        params:
            runs=lambda wildcards, output: trained(output),
            checkpoint=lambda wildcards, output: f"results/checkpoints/{Path(output.outcome[0]).parent.name}-population.npz",
            pool=lambda wildcards, input: str(Path(input.meta).parent),
            code=CODE["train"],
        threads: 1
        resources:
            mem_mb=1500 * len(population),
            runtime=120 * len(population),
            gpu=GPU,
        message:
            f"train {first.id} with its other seeds, {', '.join(str(spec.seed) for spec in population[1:])}"
        shell:
            TRAIN
