"""Published studies of multilayer perceptrons, reproduced from raw data to a typeset paper."""

__version__ = "0.1.0"
