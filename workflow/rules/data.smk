# sources --> raw files --> arrays and split
rule fetch:
    output:
        file="data/raw/{dataset}/{file}",
        receipt="data/raw/{dataset}/{file}.json",
    log:
        "results/logs/fetch/{dataset}-{file}.log",
    params:
        bytes=fingerprint_of,
        folder=lambda wildcards: paths.raw_folder(wildcards.dataset),
    resources:
        downloads=1,
    message:
        "fetch {wildcards.dataset}, {wildcards.file}"
    # Mirror and addresses are no parameters: where a file came from does not change its bytes, which its hash fixes.
    # `--mirror=`: Snakemake quotes an empty value as nothing at all.
    shell:
        "mlpaper fetch --job {SOURCES:q} --dataset {wildcards.dataset} --file {wildcards.file} --folder {params.folder:q}"
        " --mirror={MIRROR:q} > {log:q} 2>&1"


rule prepare:
    input:
        receipts=lambda wildcards: raw_files(wildcards, ".json"),
        files=lambda wildcards: [ancient(file) for file in raw_files(wildcards)],
    output:
        images="data/{pool}/images.npy",
        labels="data/{pool}/labels.npy",
        meta="data/{pool}/meta.json",
    log:
        "results/logs/prepare/{pool}.log",
    params:
        job=lambda wildcards: POOL_FILES[wildcards.pool],
        raw=lambda wildcards: paths.raw_folder(POOLS[wildcards.pool].name),
        folder=lambda wildcards: paths.pool_folder(POOLS[wildcards.pool]),
        code=CODE["prepare"],
    group:
        DATA_GROUP
    resources:
        mem_mb=memory_of_pool,
        runtime=30,
    message:
        "prepare {wildcards.pool}"
    shell:
        "mlpaper prepare --job {params.job:q} --raw {params.raw:q} --folder {params.folder:q} > {log:q} 2>&1"


rule split:
    input:
        ancient("data/{pool}/labels.npy"),
        "data/{pool}/meta.json",
    output:
        "data/{pool}/{split}.npz",
    log:
        "results/logs/split/{pool}-{split}.log",
    params:
        spec=lambda wildcards: SPLIT_FILES[f"data/{wildcards.pool}/{wildcards.split}.npz"],
        pool=lambda wildcards: paths.pool_folder(POOLS[wildcards.pool]),
        code=CODE["split"],
    group:
        DATA_GROUP
    resources:
        mem_mb=memory_of_pool,
        runtime=30,
    message:
        "split {wildcards.pool}"
    shell:
        "mlpaper split --spec {params.spec:q} --pool {params.pool:q} --output {output:q} > {log:q} 2>&1"
