# Five studies of multilayer perceptrons, from raw data to a typeset paper: snakemake --cores 4
configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        PAPERS,


onsuccess:
    if all(Path(paper).exists() for paper in PAPERS):
        print(f"The paper ({PLAN.settings.scale} scale): {', '.join(PAPERS)}", file=sys.stderr)


onerror:
    print("Some jobs failed. Their logs are named above, and under results/logs/; what is done is kept.", file=sys.stderr)
