"""Formulas as the documentation writes them, evaluated: ``2 (z - y) / K``, ``sum_k t_k log p_k``, ``gamma^t``."""

import re
from collections.abc import Iterable

import numpy as np
from scipy.special import ndtr

FUNCTIONS = {
    "abs": np.abs,
    "clip": np.clip,
    "cos": np.cos,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "max": np.maximum,
    "mean": lambda x: x.mean(axis=0),
    "mean_k": np.mean,
    "phi": lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    "Phi": ndtr,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "sqrt": np.sqrt,
    "sum": lambda x: x.sum(axis=0),
    "sum_k": np.sum,
    "tanh": np.tanh,
}
TOKEN = re.compile(r"\d+\.?\d*(?:e-?\d+)?|[A-Za-z_]\w*|\*\*|\S")


def python(formula: str, functions: Iterable[str] = tuple(FUNCTIONS)) -> str:
    """The formula in Python's notation: with signs of multiplication, and without indices k.

    What follows a function is its argument: the parenthesis, or without one, or after an index k, all to the end.

    >>> python("gamma / std (dy - n mean(dy n))")
    'gamma / std * ( dy - n * mean ( dy * n ) )'
    >>> python("(sum_k t_k log p_k) / |x|")
    '( sum_k ( t * log ( p ) ) ) / abs ( x )'
    """
    tokens = TOKEN.findall(re.sub(r"\|(.+?)\|", r"abs(\1)", formula).replace("^", "**"))
    written, open_functions = [], [0]  # functions to be closed, at each depth of parentheses
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "(":
            open_functions.append(0)
        elif token == ")":
            written += [")"] * open_functions.pop()
        operand_follows = re.match(r"[\w(]", after)
        if token in functions and operand_follows:
            written.append(token)
            if after != "(" or token.endswith("_k"):
                written.append("(")
                open_functions[-1] += 1
        else:
            written.append(re.sub(r"_k$", "", token))
            if re.match(r"[\w)\]]", token) and operand_follows:
                written.append("*")
    return " ".join(written + [")"] * open_functions.pop())


def evaluate(formula: str, names: dict[str, object]) -> object:
    """Value of a formula, with these meanings of its names."""
    functions = {*FUNCTIONS, *(name for name, value in names.items() if callable(value))}
    return eval(python(formula, functions), {"__builtins__": {}, "pi": np.pi} | FUNCTIONS, names)


def assignments(docstring: str) -> list[tuple[str, str]]:
    """Names and formulas of all ``name = formula`` and ``name <- formula`` between double backticks."""
    quoted = [text for part in re.findall(r"``([^`]+)``", docstring) for text in re.split(r", (?=\w+ <-)", part)]
    found = [re.fullmatch(r"(\w+) (?:=|<-) (.+)", text) for text in quoted]
    return [(match[1], match[2]) for match in found if match]
