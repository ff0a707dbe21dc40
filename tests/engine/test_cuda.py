"""What the engine asks of cuBLAS, asked of a stand-in with the same functions, compiled for the processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpaper.engine import cuda

RNG = np.random.default_rng(5)

CUBLAS = """
// The functions as NVIDIA documents them: matrices lie in columns, and an operation is 0 (none) or 1 (transposed).
static int state, workspace;
template <class T> static int gemm(void *handle, int left, int right, int m, int n, int k, const T *alpha, const T *a,
                                   int lda, const T *b, int ldb, const T *beta, T *c, int ldc) {
    if (handle != &state || !workspace) return 1;
    if (lda < (left ? k : m) || ldb < (right ? n : k) || ldc < m) return 7;
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            T sum = 0;
            for (int l = 0; l < k; ++l)
                sum += (left ? a[l + i * lda] : a[i + l * lda]) * (right ? b[j + l * ldb] : b[l + j * ldb]);
            c[i + j * ldc] = *alpha * sum + (*beta ? *beta * c[i + j * ldc] : 0);
        }
    return 0;
}
extern "C" int cublasCreate_v2(void **handle) { return *handle = &state, 0; }
// A stream has a workspace of its own, so that one that was set before is gone.
extern "C" int cublasSetStream_v2(void *handle, void *stream) {
    return workspace = 0, handle != &state || stream != (void *)77;
}
extern "C" int cublasSetWorkspace_v2(void *handle, void *memory, unsigned long bytes) {
    return workspace = 1, handle != &state || !memory || bytes != 32ul << 20;
}
#define GEMM(letter, T) \\
    extern "C" int cublas##letter##gemm_v2(void *handle, int left, int right, int m, int n, int k, const T *alpha, \\
                                           const T *a, int lda, const T *b, int ldb, const T *beta, T *c, int ldc) { \\
        return gemm(handle, left, right, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); \\
    }
GEMM(S, float)
GEMM(D, double)
"""


class Matrix(np.ndarray):
    """An array that tells where it lies as CuPy's do."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


def _matrix(values: np.ndarray) -> Matrix:
    return np.ascontiguousarray(values).view(Matrix)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++) to build a stand-in for cuBLAS")
    file: Path = tmp_path_factory.mktemp("cublas") / "cublas.so"
    subprocess.run(
        ["g++", "-xc++", "-O1", "-shared", "-fPIC", "-o", str(file), "-"], input=CUBLAS, text=True, check=True
    )
    cupy = SimpleNamespace(
        cuda=SimpleNamespace(runtime=SimpleNamespace(runtimeGetVersion=lambda: 12090)),
        empty=lambda size, dtype: np.empty(size, dtype).view(Matrix),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "_cublas", lambda major: ctypes.CDLL(str(file)))
        return cuda._Products(cupy, 77)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_products_are_those_of_numpy(products: Any, dtype: type, transposed: tuple[bool, bool]) -> None:
    m, n, k = 5, 7, 4
    a = RNG.normal(size=(k, m) if transposed[0] else (m, k)).astype(dtype)
    b = RNG.normal(size=(n, k) if transposed[1] else (k, n)).astype(dtype)
    out = np.full((m, n), np.nan, dtype)  # what was there must not count
    given = [_matrix(array) for array in (a, b, out)]
    products(*given, transposed)
    left, right = (x.T if turn else x for x, turn in zip((a, b), transposed, strict=True))
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(np.asarray(given[2]), left @ right, rtol=tolerance, atol=tolerance)


def test_a_product_that_fails_says_so(products: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "handle", ctypes.c_void_p(1))
    ones = _matrix(np.ones((2, 2), np.float32))
    with pytest.raises(RuntimeError, match="cublasSgemm_v2 failed with status 1"):
        products(ones, ones, ones, (False, False))
