#!/bin/sh
# Prints `success`, `running` or `failed` for a Slurm job id, as Snakemake's generic executor asks.
state=$(scontrol show job -o "$1" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
case "$state" in
    COMPLETED) echo success ;;
    PENDING | RUNNING | COMPLETING | CONFIGURING | SUSPENDED) echo running ;;
    "") scontrol ping >/dev/null 2>&1 && echo failed || echo running ;; # unknown to a controller that answers, or no answer
    *) echo failed ;;
esac
