# Published studies of multilayer perceptrons, from raw data to a typeset paper: snakemake --cores 4
configfile: "config.yaml"


report: "workflow/report/workflow.rst"


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
        paths.LEDGER,
        [f"{paths.run_folder(run)}/run.json" for run in PLAN.runs],


onsuccess:
    made = [paper for paper in PAPERS if Path(paper).exists() and Path(paper).stat().st_mtime >= STARTED]
    if made:
        print(f"The paper, at scale {PLAN.settings.scale}: {', '.join(made)}", file=sys.stderr)


onerror:
    print("Stopped before the end. What is done is kept, logs are in results/logs/; the same call goes on.", file=sys.stderr)
