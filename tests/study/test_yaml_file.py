"""What YAML files mean, and what is said of files that cannot be read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpaper.errors import ConfigurationError
from mlpaper.study.yaml_file import MOST_VALUES, line_of, load

MERGED = """\
base: &base {width: 64, deep: {rate: 1e-4}}
more: &more
  width: 32
  bias: true
one: {<<: *base, width: 8}
both:
  <<: [*base, *more]
  last: 1
"""
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-4", 1e-4), ("1.0e-4", 1e-4), ("-1E+3", -1000.0), (".5", 0.5), ("1.", 1.0), ("0", 0), ("-7", -7)),
        *(("0x10", 16), ("0o17", 15), ("+5", 5), ("true", True), ("False", False), ("null", None), ("", None)),
        *((word, word) for word in ("on", "off", "yes", "No", "2020-01-01", "1_000", "1:30", "0b1", ".", "e5", "1e")),
        *(("'64'", "64"), ('"1e-4"', "1e-4"), ("'null'", "null"), ("|\n  12\n", "12\n")),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_yaml_1_2(path: Path, text: str, value: Any) -> None:
    path.write_text(f"key: {text}")
    found = load(path)["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_as_written(path: Path) -> None:
    path.write_text("{10: a, 1e-4: b, 010: c, on: d, null: e, '<<': f}")
    assert load(path) == {"10": "a", "1e-4": "b", "010": "c", "on": "d", "null": "e", "<<": "f"}


def test_merge_keys_give_what_a_mapping_does_not_have(path: Path) -> None:
    path.write_text(MERGED)
    values = load(path)
    assert values["one"] == {"width": 8, "deep": {"rate": 1e-4}}
    assert values["both"] == {"width": 64, "bias": True, "deep": {"rate": 1e-4}, "last": 1}, "the first one counts"
    assert line_of(path, ["one", "width"]) == 5
    assert line_of(path, ["both", "bias"]) == 4
    assert line_of(path, ["both", "deep", "rate"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty; it must hold a mapping"),
        (b"# nothing\n", " is empty"),
        (b"- 1\n- 2\n", " holds a list; it must hold a mapping"),
        (b"text", " holds a single value"),
        (b"a: 1\n---\nb: 2\n", ":2: is not valid YAML: a second document begins here"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8 text"),
        (b"\xff\xfea\x00:\x00", ":1: is not UTF-8 text"),
        (b"a: 1\nb: \x07\n", ":2: is not valid YAML: control characters"),
        (b"a:\n\t- b\n", ":2: is not valid YAML: .*indent with spaces, not tabs"),
        (b"a: 1\n\tb: 2\n", ":2: is not valid YAML: .*indent with spaces, not tabs"),
        (b"a: [1, 2\nb: 3\n", ":2: is not valid YAML"),
        (b"a: 1\nb: 2\na: 3\n", r":3: `a` is given twice \(first in line 1\)"),
        (b"x: &x {a: 1}\ny: {<<: *x, <<: *x}\n", ":2: `<<` is given twice"),
        (b"a: 1\nb: 010\n", ":2: `010` starts with 0: write 10, or '010' in quotes"),
        (b"a: -00\n", ":1: `-00` starts with 0: write -0"),
        (b"a: 1\nb: [.inf]\n", ":2: `.inf` is not a finite number"),
        (b"a: .NaN\n", ":1: `.NaN` is not a finite number"),
        (b"a: 1e999\n", ":1: `1e999` is not a finite number"),
        (b"a: " + b"9" * 5000, r":1: `9+\.\.\.` is too large for a whole number"),
        (b"a: 0x" + b"f" * 5000, r":1: `0xf+\.\.\.` is too large"),
        (b"a: !!set {b}\n", ":1: the tag `!!set` has no meaning here"),
        (b"a: !!python/object/apply:os.system [ls]\n", ":1: the tag `!!python/object/apply:os.system` has no meaning"),
        (b"a: 1\n? [b]\n: 2\n", ":2: a key must be text"),
        (b"a: 1\n<<: 3\n", ":2: `<<` takes a mapping or a list of mappings"),
        (b"a: *nothing\n", ":1: is not valid YAML: found undefined alias"),
        (b"a: &x [*x]\n", ":1: nested more than 32 levels deep, or an anchor contains itself"),
        (b"a: &x {<<: *x}\n", ":1: nested more than 32 levels deep, or an anchor contains itself"),
        (b"a: " + b"[" * 100 + b"]" * 100, ":1: nested more than 32 levels deep"),
        (b"a: " + b"[" * 100_000, ":1: is not valid YAML"),
        (BOMB.encode(), f":1: aliases make more than {MOST_VALUES:,} values"),
        (MERGE_BOMB.encode(), f":3: aliases make more than {MOST_VALUES:,} values"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_explained_with_its_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"^\S*file\.yaml{message}"):
        load(path)


@given(st.binary(max_size=40) | st.text("ab01.:-,[]{}&*<>!|'\"#%\t\n ", max_size=40).map(str.encode))
def test_whatever_a_file_holds_it_is_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        values = load(path)
    except ConfigurationError as error:
        values = str(error)
    assert isinstance(values, dict) or values.startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read: "):
            load(path)
