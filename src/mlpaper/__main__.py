"""`python -m mlpaper`."""

from mlpaper.cli import main

main()
