"""The from-scratch training engine. Nothing in here imports PyTorch, Snakemake or plotting code."""
