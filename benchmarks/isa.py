"""Instruction sets: how all contenders are restricted to one, and which one their libraries say they use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found]

from mlpaper.engine.ops import processor

NAMES = ("avx2", "avx512")
XLA = "--xla_cpu_multi_thread_eigen=false"
"""JAX on one thread. XLA reads no flag after a word that is none."""
WITHOUT_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="
"""YNNPACK makes JAX's products and asks the processor itself. Without it oneDNN makes them, at the same rate."""
RESTRICTED: dict[str, dict[str, str]] = {
    "": {"XLA_FLAGS": XLA},
    "avx2": {
        processor.VARIABLE: "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": " ".join(it for it in __cpu_dispatch__ if "AVX512" in it or it == "X86_V4"),
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "TORCHINDUCTOR_CPP_MARCH": "native -mno-avx512f",
        "XLA_FLAGS": f"{XLA} --xla_cpu_max_isa=AVX2 {WITHOUT_YNNPACK}",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL",
    },
    "avx512": {
        processor.VARIABLE: "avx512",
        "OPENBLAS_CORETYPE": "SkylakeX",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "XLA_FLAGS": f"{XLA} --xla_cpu_max_isa=AVX512",
    },
}
OTHER_MAKE = "not told (AVX2 at most, by a profile on AMD)"
"""MKL gives no instruction set there; by a profile its products are made by `mkl_blas_def_sgemm_kernel_0_zen`."""
THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
WIDER = {"avx2": r"(?i)(?<!no-)avx-?512|amx|extensions 512|x86_v4|skylakex|cooperlake|sapphire|ynnpack"}
"""What a library must not report."""


def environment(isa: str) -> dict[str, str]:
    """Variables of a contender's process: one thread, and no instruction set but `isa`, whatever the shell says."""
    ours = {name for settings in RESTRICTED.values() for name in settings}
    return {name: value for name, value in os.environ.items() if name not in ours} | THREADS | RESTRICTED[isa]


def check(isa: str) -> None:
    """Refuse an instruction set that this processor lacks, by a `ConfigurationError`; else this process keeps to it."""
    os.environ.pop(processor.VARIABLE, None)
    if isa:
        os.environ[processor.VARIABLE] = isa
    processor.target()


def ask(contender: str, isa: str) -> str:
    """What the libraries of a contender say they use, as a process tells that is restricted to `isa`."""
    told = {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    done = subprocess.run(
        [sys.executable, Path(__file__), contender],
        env=environment(isa) | told, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return "not known"
    words = json.loads(re.findall("^reported: (.*)$", done.stdout, re.MULTILINE)[0])
    mkl = re.findall(r"for Intel\(R\) 64 architecture (.*?) processors", done.stdout)[:1]
    words += [f"MKL: {OTHER_MAKE if it == 'Intel(R) Architecture' else it}" for it in mkl]
    words += [f"oneDNN: {it}" for it in re.findall(r"cpu,isa:(.*)", done.stdout)[:1]]
    return ", ".join(words)


def exceeds(isa: str, words: str) -> bool:
    """Whether a library reports more than it was restricted to."""
    return isa in WIDER and re.search(WIDER[isa], words) is not None


def _openblas() -> list[str]:
    import scipy.linalg  # noqa: F401 - loads SciPy's OpenBLAS
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    return sorted({f"OpenBLAS: {it['architecture']}" for it in threadpool_info() if "architecture" in it})


def _mlpaper() -> list[str]:
    sets = [name for name, feature in processor.NEEDED.items() if not feature or processor.has(feature)]
    return [f"compiled code: {sets[-1]}", *_openblas()]


def _numpy() -> list[str]:
    return [f"NumPy: {['baseline', *(it for it in __cpu_dispatch__ if __cpu_features__[it])][-1]}", *_openblas()]


def _pytorch() -> list[str]:
    import torch

    torch.ones(64, 64) @ torch.ones(64, 64)  # MKL tells of itself at its first product
    return [f"ATen: {torch.backends.cpu.get_cpu_capability()}"]


def _compiled() -> list[str]:
    from torch._inductor import config
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    return [f"inductor: {pick_vec_isa()} with -march={getattr(config.cpp, 'march', None) or 'native'}", *_pytorch()]


def _jax() -> list[str]:
    import jax
    import jax.numpy as jnp

    x = jnp.ones((512, 512))
    made = jax.jit(lambda x: x @ x).lower(x).compile()
    made(x).block_until_ready()  # oneDNN tells of itself at its first product
    features = made.runtime_executable().serialize()  # type: ignore[union-attr]
    sets = [name for name, feature in (("avx2", b"+avx2"), ("avx512", b"+avx512f")) if feature in features]
    return [
        f"XLA: {['generic', *sets][-1]}",
        *(["YNNPACK: what the processor has"] if "ynn" in str(made.as_text()) else []),
    ]


if __name__ == "__main__":
    name = sys.argv[1]
    kinds = {"mlpaper": _mlpaper, "PyTorch": _pytorch, "PyTorch, fused": _pytorch, "torch.compile": _compiled,
             "JAX scan": _jax}  # fmt: skip
    print(f"reported: {json.dumps(kinds.get(name, _numpy)())}")
