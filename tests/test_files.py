"""Parquet columns come back as they were, whatever they were given as, and without pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpaper.files import read_parquet, write_parquet


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        ([1, 2, 3], "int64", [1, 2, 3]),
        ([1.5, float("nan")], "double", None),
        (np.arange(6, dtype=np.int16)[::-2], "int16", [5, 3, 1]),
        (np.array([0.5, 0.25], dtype=np.float32), "float", [0.5, 0.25]),
        (np.array(["plain", "naïve", ""]), "string", ["plain", "naïve", ""]),
        (["a", None], "string", ["a", None]),
        ([1.5, None], "double", [1.5, None]),
        ([None, 2, *[None] * 8, 3], "int64", [None, 2, *[None] * 8, 3]),
        ([1, None, 2.5], "double", [1.0, None, 2.5]),
        ([None, None], "null", [None, None]),
        ([True, False], "bool", [True, False]),
        ([], "null", []),
        (np.empty(0), "double", []),
    ],
)
def test_columns_come_back(tmp_path: Path, column: object, kind: str, values: list | None) -> None:
    write_parquet(tmp_path / "a.parquet", {"column": column})
    table = read_parquet(tmp_path / "a.parquet")
    assert str(table.schema.field("column").type) == kind
    found = table["column"].to_pylist()
    assert found == values if values is not None else (found[0] == 1.5 and np.isnan(found[1]))


def test_writing_numbers_and_texts_does_not_import_pandas(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlpaper.files import write_parquet\n"
        f"write_parquet(Path({str(tmp_path / 'a.parquet')!r}), {{'a': [1, 2], 'b': [0.5, None], 'c': ['x', None]}})\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
