"""The benchmarks on a processor: they run on a folder without data, and keep all contenders to an instruction set."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from llvmlite import binding

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
ROW = "784-128-10, batch 16"


@pytest.fixture
def isa(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("isa")


@pytest.fixture
def steps(isa: ModuleType) -> ModuleType:
    return importlib.import_module("steps")


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / "steps.py", "--rounds", "1", "--seconds", "0.01", *arguments]
    environment = os.environ | NO_NETWORK | variables
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


def needs(feature: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not binding.get_host_cpu_features().get(feature), reason=f"no {feature} here")


@needs("fma")
def test_a_fresh_clone_is_measured_on_digits_by_avx2_alone(tmp_path: Path) -> None:
    done = run(
        "--isa", "avx2", "--rows", ROW, "--contenders", "NumPy reference", "--pools", tmp_path,
        OPENBLAS_CORETYPE="SkylakeX",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("digits in their place") == 1
    table = done.stdout.splitlines()
    row = next(line for line in table if line.startswith(f"| {ROW}"))
    assert "| digits, 1,797 images |" in row
    assert row.endswith(", NumPy reference |")
    assert "| mlpaper | compiled code: avx2, OpenBLAS: Haswell |" in table


@needs("fma")
@pytest.mark.parametrize(("contender", "words"), [("PyTorch", "ATen: AVX2"), ("JAX scan", "XLA: avx2, oneDNN")])
def test_other_libraries_report_avx2(isa: ModuleType, contender: str, words: str) -> None:
    pytest.importorskip("torch" if contender == "PyTorch" else "jax")
    reported = isa.ask(contender, "avx2")
    assert words in reported
    assert not isa.exceeds("avx2", reported)


@pytest.mark.parametrize("only", ["", "avx2", "avx512"])
def test_the_shell_decides_no_instruction_set(isa: ModuleType, monkeypatch: pytest.MonkeyPatch, only: str) -> None:
    ours = {name for settings in isa.RESTRICTED.values() for name in settings}
    for name in ours:
        monkeypatch.setenv(name, "of the shell")
    environment = isa.environment(only)
    assert {name: environment[name] for name in ours if name in environment} == isa.RESTRICTED[only]
    assert environment["OMP_NUM_THREADS"] == "1"


def test_wider_sets_are_noticed(isa: ModuleType) -> None:
    for words in ("ATen: AVX512", "OpenBLAS: SkylakeX", "NumPy: X86_V4", "XLA: avx2, YNNPACK: what the processor has"):
        assert isa.exceeds("avx2", words)
        assert not isa.exceeds("avx512", words)
    assert not isa.exceeds("avx2", "inductor: avx2 with -march=native -mno-avx512f, ATen: AVX2")


def test_a_set_that_the_processor_lacks_is_refused_before_anything_runs(
    isa: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlpaper.engine.ops import processor
    from mlpaper.errors import ConfigurationError

    monkeypatch.setenv(processor.VARIABLE, "")
    monkeypatch.setattr(processor.binding, "get_host_cpu_features", binding.FeatureMap)
    processor.target.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match="does not have avx2"):
            isa.check("avx2")
    finally:
        processor.target.cache_clear()


def test_a_contender_that_fails_is_named(
    steps: ModuleType, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sklearn.py").write_text("raise RuntimeError('broken build')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    times = steps.measure(ROW, ["scikit-learn"], 1, 0.01, "cpu", digits.parent, "")
    assert times == {"scikit-learn": "failed: RuntimeError: broken build"}
    assert "scikit-learn: RuntimeError: broken build" in capsys.readouterr().err
    text = steps.table({ROW: times | {"mlpaper": "failed: exit code -9"}}, ["mlpaper", "scikit-learn"], {})
    assert "–: scikit-learn failed: RuntimeError: broken build" in text


def test_the_fastest_other_and_the_smallest_ratio(steps: ModuleType) -> None:
    rows = dict.fromkeys([ROW, "784-128-10, batch 1"])
    about = {"data": "mnist, 60,000 images", "classes": "10", "PyTorch": "is slow"}
    results = {
        row: about | {"mlpaper": [1.0, 2.0, 1.0], "A": [2.0 * i, 4.0 * i, 9.0 * i], "B": [3.0, 6.0, 3.0]}
        for i, row in enumerate(rows, 1)
    }
    lines = steps.table(results, ["mlpaper", "A", "B", "PyTorch"], {}).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:4]] == ["2.00, A", "3.00, B"]
    assert f"Smallest ratio: 2.00, A, {ROW}." in lines
