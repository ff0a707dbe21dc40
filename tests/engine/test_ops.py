"""Fast operations against the readable reference, and the reference against known answers."""

import inspect

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda

from mlpaper.engine.cuda import Cuda
from mlpaper.engine.executor import pixel_table
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.ops.cpu import CpuOps
from mlpaper.engine.ops.gpu import SOURCE, GpuOps
from mlpaper.engine.ops.reference import Ops, philox
from mlpaper.spec import InputSpec

RNG = np.random.default_rng(1)
REFERENCE, CPU = Ops(), CpuOps()
OPERATIONS = [name for name in vars(Ops) if not name.startswith("_")]


@pytest.mark.parametrize("faster", [CpuOps, GpuOps])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_override_has_the_signature_of_the_reference(name: str, faster: type[Ops]) -> None:
    assert inspect.signature(getattr(faster, name)) == inspect.signature(getattr(Ops, name))


def _real(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _cases() -> dict[str, list]:
    """Arguments of every operation; arrays are copied for each implementation, and all are compared afterwards.

    A case is named by its operation, and where there are several by what else tells them apart.
    """
    logits = 5 * _real(37, 11)
    logits[0], logits[1] = 0, 1e4 * logits[1]  # a tie, and logits that overflow a naive softmax
    return {
        "gather": [
            RNG.integers(0, 256, (50, 24), dtype=np.uint8),
            RNG.integers(0, 50, 37),
            _real(256),
            np.zeros((37, 24), np.float32),
        ],
        "linear": [_real(37, 24), _real(24, 11), _real(11), np.zeros((37, 11), np.float32)],
        "linear_backward": [
            _real(37, 24), _real(24, 11), _real(37, 11), np.zeros((24, 11), np.float32), _real(11), _real(37, 24),
        ],
        "affine": [
            _real(37, 24), _real(24, 11), _real(11), _real(37, 11), "tanh", np.zeros((37, 11), np.float32),
            np.zeros((37, 11), np.float32),
        ],
        "affine_backward": [
            _real(37, 24), _real(24, 11), _real(37, 11), "sigmoid", _real(37, 11), np.zeros((24, 11), np.float32),
            _real(11), _real(37, 24),
        ],
        **{f"activate {name}": [name, _real(37, 24), np.zeros((37, 24), np.float32)] for name in ACTIVATIONS},
        **{
            f"activate_backward {name}": [name, _real(37, 24), _real(37, 24), np.zeros((37, 24), np.float32)]
            for name in ACTIVATIONS
        },
        "normalise": [_real(37, 24), _real(24), _real(24) ** 2, 1e-5, np.zeros((37, 24), np.float32)],
        "batch_norm": [
            _real(37, 24), _real(24), _real(24), 1e-5, np.zeros((37, 24), np.float32), np.zeros((37, 24), np.float32),
            np.zeros((2, 24), np.float32),
        ],
        "batch_norm_backward": [
            _real(37, 24), _real(24) ** 2, _real(24), 1e-5, _real(37, 24), _real(24), _real(24),
            np.zeros((37, 24), np.float32),
        ],
        "dropout": [
            _real(37, 22), 0.3, 7, 3, np.array([2**32 + 5], np.uint64), np.zeros((37, 22), np.float32),
            np.zeros((37, 22), np.float32),
        ],
        "follow": [_real(2, 24), _real(2, 24), 37, 0.1],
        "deform": [
            RNG.integers(0, 256, (9, 25), np.uint8), RNG.integers(0, 9, 7), 5, RNG.integers(-2, 3, 7),
            RNG.integers(-2, 3, 7), RNG.normal(size=7), np.zeros((7, 25), np.uint8),
        ],
        "cross_entropy": [logits, RNG.integers(0, 11, 37), 1 / 37, np.zeros_like(logits), np.ones(3)],
        "weighted_cross_entropy": [
            logits, RNG.integers(0, 11, 37), np.abs(_real(11, 11)), 1 / 37, np.zeros_like(logits), np.ones(3),
        ],
        "average_by_weight": [_real(37, 11), RNG.integers(0, 11, 37), np.abs(_real(11))],
        "squared_error": [_real(37, 11), RNG.integers(0, 11, 37), 1 / 37, np.zeros((37, 11), np.float32), np.ones(3)],
        "absolute_error": [_real(37, 11), RNG.integers(0, 11, 37), 1 / 37, np.zeros((37, 11), np.float32), np.ones(3)],
        "log_softmax": [logits, np.zeros_like(logits)],
        "add_scaled": [_real(99), _real(99), 0.3],
        "shrink": [_real(99), 0.1, 0.3],
        "clip_norm": [_real(99), 0.5],
        "nesterov": [_real(99), _real(99), _real(99), 0.1, 0.9],
        "sgd": [_real(99), _real(99), 0.1],
        "momentum": [_real(99), _real(99), _real(99), 0.1, 0.9],
        "adam": [_real(99), _real(99), _real(99), _real(99) ** 2, 1e-3, 0.9, 0.999, 1e-8, 3],
        "random_words": [np.zeros((5, 12), np.uint32), 7, 3, np.array([0, 1, 2**32 + 5, 9, 2], np.uint64)],
        "normal_rows": [np.zeros((5, 12), np.float32), 7, 3, np.array([0, 1, 2**32 + 5, 9, 2], np.uint64)],
        "add_noise": [np.abs(_real(37, 24)), _real(37, 24), 0.2, np.zeros((37, 24), np.float32)],
    }  # fmt: skip


CASES = sorted(_cases())


def test_every_operation_has_a_case() -> None:
    assert {case.split()[0] for case in CASES} == set(OPERATIONS)


def _call(ops: Ops, case: str, arguments: list) -> None:
    getattr(ops, case.split()[0])(*arguments)


def _arguments(case: str, dtype: type) -> list:
    return [
        argument.astype(dtype) if isinstance(argument, np.ndarray) and argument.dtype == np.float32 else argument
        for argument in _cases()[case]
    ]


def _copied(arguments: list) -> list:
    return [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]


def _assert_close(ours: list, theirs: list, dtype: type) -> None:
    tight = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, np.ndarray):
            assert mine.dtype == other.dtype
            np.testing.assert_allclose(mine, other, **tight)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_equal_the_reference(case: str, dtype: type) -> None:
    arguments = _arguments(case, dtype)
    ours, theirs = _copied(arguments), _copied(arguments)
    _call(CPU, case, ours)
    _call(REFERENCE, case, theirs)
    _assert_close(ours, theirs, dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("readable", [True, False])
def test_a_gpu_computes_what_the_reference_does_on_the_host(cuda: Cuda, case: str, dtype: type, readable: bool) -> None:
    """Its kernels, and the readable operations themselves on its arrays."""
    arguments = _arguments(case, dtype)
    ours, theirs = [cuda.xp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments], _copied(arguments)
    _call(REFERENCE if readable else GpuOps(cuda, np.dtype(dtype)), case, ours)
    _call(REFERENCE, case, theirs)
    hosts = [a if isinstance(a, int | float | str) else cuda.to_host(a) for a in ours]
    _assert_close(hosts, theirs, dtype)


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_backward", "cross_entropy", "linear_backward", "clip_norm"])
def test_the_order_of_threads_does_not_matter(emulated: EmulatedCuda, name: str) -> None:
    """Kernels whose threads exchange something give the same bits when they run from the last to the first."""
    results, given = [], _arguments(name, np.float32)
    for backwards in (False, True):
        device = EmulatedCuda(backwards=backwards)
        arguments = [device.xp.asarray(a) if isinstance(a, np.ndarray) else a for a in given]
        getattr(GpuOps(device, np.dtype(np.float32)), name)(*arguments)
        results.append([device.to_host(a).tobytes() for a in arguments if not isinstance(a, int | float | str)])
    assert results[0] == results[1]


BARRIER = """
extern "C" __global__ void wait(REAL *x, long long begin) {
    if (threadIdx.x >= begin) __syncthreads();
    x[threadIdx.x] += 1;
}
"""


def test_a_barrier_that_not_all_threads_reach_is_found_out(emulated: EmulatedCuda) -> None:
    """And what runs after it is none the worse."""
    x, launch = emulated.xp.zeros(64, np.float32), emulated.kernels(BARRIER, np.dtype(np.float32))("wait")
    launch((1, 1), (64, 1), (x, np.int64(1)))
    with pytest.raises(AssertionError, match="wait: threads wait for others that never come"):
        emulated.wait_for_all()
    launch((2, 1), (64, 1), (x, np.int64(0)))
    np.testing.assert_array_equal(emulated.to_host(x), [3] + [2] * 63)


@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
@pytest.mark.parametrize(("rows", "skipped"), [(7, True), (7, False), (1100, True)])
def test_a_layer_with_its_activation_is_the_two_one_after_the_other(
    cuda: Cuda, activation: str, rows: int, skipped: bool
) -> None:
    """Forwards and backwards, with and without a skip, over one chunk of rows and over several; also where y is z."""
    gpu = GpuOps(cuda, np.dtype(np.float64))
    x, w, b, skip, dy = (RNG.normal(size=shape) for shape in ((rows, 5), (5, 40), 40, (rows, 40), (rows, 40)))
    z = x @ w + b + (skip if skipped else 0)
    y, kept, dz = z.copy(), z, dy.copy()
    if activation:
        REFERENCE.activate(activation, z, y)
        kept = y if ACTIVATIONS[activation].kept == "output" else z
        REFERENCE.activate_backward(activation, kept, dz, dz)
    for ops, to in ((REFERENCE, np.copy), (CPU, np.copy), (gpu, cuda.xp.asarray)):
        for apart in (False, True) if activation else (False,):
            first, our_dz, dw, db, dx = (to(a) for a in (np.zeros_like(dy), dy, w, b, x))
            second = to(np.zeros_like(dy)) if apart else first
            ops.affine(to(x), to(w), to(b), to(skip) if skipped else None, activation, first, second)
            ops.affine_backward(to(x), to(w), to(kept), activation, our_dz, dw, db, dx)
            results = {"z": first, "y": second, "dz": our_dz, "dw": dw, "db": db, "dx": dx}
            expected = [z if apart else y, y, dz, x.T @ dz, dz.sum(axis=0), dz @ w.T]
            for (name, mine), theirs in zip(results.items(), expected, strict=True):
                mine = cuda.to_host(mine) if ops is gpu else mine
                np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("shape", [(1, 1), (513, 3), (1200, 40), (2, 70)])
def test_sums_over_a_batch_of_any_size(cuda: Cuda, shape: tuple[int, int]) -> None:
    """Several chunks of rows, and columns that fill no block."""
    dy, operations = RNG.normal(size=shape), GpuOps(cuda, np.dtype(np.float64))
    x, w, dw, db = np.ones((shape[0], 2)), np.ones((2, shape[1])), np.empty((2, shape[1])), np.empty(shape[1])
    arrays = [cuda.xp.asarray(a) for a in (x, w, dy, dw, db)]
    operations.linear_backward(*arrays, None)
    np.testing.assert_allclose(cuda.to_host(arrays[4]), dy.sum(axis=0), rtol=1e-12, atol=1e-12)
    gamma, beta = (cuda.xp.asarray(np.ones(shape[1])) for _ in range(2))
    normal, y, statistics = (cuda.xp.asarray(np.empty(s)) for s in (shape, shape, (2, shape[1])))
    operations.batch_norm(arrays[2], gamma, beta, 1e-5, normal, y, statistics)
    np.testing.assert_allclose(cuda.to_host(statistics), [dy.mean(axis=0), dy.var(axis=0)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("real", ["float", "double"])
def test_kernels_compile_for_devices_old_and_new(real: str) -> None:
    """With NVIDIA's own compiler, where CuPy and the toolkit's NVRTC are installed; no device is needed."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed", exc_type=ImportError)
    try:
        nvrtc.getVersion()
    except Exception as error:  # CuPy has a type of its own for every library that it cannot load
        pytest.skip(f"NVRTC is not installed: {error}")
    source = SOURCE.read_text(encoding="utf-8")
    for architecture in ("compute_75", "sm_90"):
        program = nvrtc.createProgram(source, "gpu.cu", [], [])
        try:
            nvrtc.compileProgram(program, ["-std=c++17", f"-DREAL={real}", f"-arch={architecture}"])
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert "warning" not in nvrtc.getProgramLog(program)


def test_pixels_become_inputs_as_stated() -> None:
    plain, standard = pixel_table(InputSpec()), pixel_table(InputSpec(mean=0.1307, std=0.3081))
    assert (plain[0], plain[51], plain[255]) == (0.0, 0.2, 1.0)
    assert standard[255] == pytest.approx((1 - 0.1307) / 0.3081, rel=1e-12)
    assert standard[0] == pytest.approx(-0.1307 / 0.3081, rel=1e-12)
    images = np.array([[0, 255], [51, 1]], np.uint8)
    for ops in (CPU, REFERENCE):
        out = np.zeros((3, 2))
        ops.gather(images, np.array([1, 0, 1]), plain, out)
        np.testing.assert_allclose(out, [[0.2, 1 / 255], [0, 1], [0.2, 1 / 255]], rtol=1e-15)


def test_noise_is_added_and_clipped_to_the_unit_interval() -> None:
    x, noise = np.array([[0.5, 0.1, 0.9, 0.3]]), np.array([[1.0, -1.0, 1.0, 0.0]])
    for ops in (CPU, REFERENCE):
        out = np.zeros_like(x)
        ops.add_noise(x, noise, 0.2, out)
        np.testing.assert_allclose(out, [[0.7, 0.0, 1.0, 0.3]], rtol=1e-15)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    x, mask, y = np.ones((400, 500)), np.zeros((400, 500)), np.zeros((400, 500))
    REFERENCE.dropout(x, 0.3, 1, 2, np.array([3], np.uint64), mask, y)
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1.0, abs=0.01)
    assert set(np.unique(y)) == {0.0, 1 / 0.7}


def test_deformations_by_hand() -> None:
    """A shift moves pixels by whole places; a quarter turn is NumPy's; background comes in from outside."""
    images = np.array([[255] * 9, range(1, 10)], np.uint8)
    zero, none, out = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 9), np.uint8)
    REFERENCE.deform(images, zero + 1, 3, zero + 1, zero - 1, none, out)
    np.testing.assert_array_equal(out.reshape(3, 3), [[0, 0, 0], [2, 3, 0], [5, 6, 0]])
    REFERENCE.deform(images, zero + 1, 3, zero, zero, none + np.pi / 2, out)
    np.testing.assert_array_equal(out.reshape(3, 3), np.rot90(images[1].reshape(3, 3)))


def test_kernels_keep_a_nan() -> None:
    """A network that diverges must be seen to diverge: no kernel may turn NaN into a number."""
    logits = np.zeros((2, 3), np.float32)
    logits[1, 2] = np.nan
    for ops in (CPU, REFERENCE):
        totals = np.zeros(3)
        ops.cross_entropy(logits, np.array([0, 1]), 1.0, np.zeros_like(logits), totals)
        assert np.isnan(totals[0])
        assert totals[2] == 0
        x = np.array([[np.nan, -1, 1]], np.float32)
        ops.activate("relu", x, x)
        np.testing.assert_array_equal(x, [[np.nan, 0, 1]])


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_cross_entropy", "squared_error", "absolute_error"])
def test_the_first_of_equal_outputs_is_the_prediction(name: str) -> None:
    outputs, labels = np.array([[1.0, 2.0, 2.0]] * 4), np.array([0, 1, 1, 2])
    more = [np.eye(3)] if name == "weighted_cross_entropy" else []
    for ops in (CPU, REFERENCE):
        totals = np.zeros(3)
        getattr(ops, name)(outputs.copy(), labels, *more, 1.0, np.zeros((4, 3)), totals)
        assert totals[1] == 2


@pytest.mark.parametrize("ops", [CPU, REFERENCE])
def test_a_gradient_may_take_the_place_of_the_logits(ops: Ops) -> None:
    logits, labels = _real(37, 11), RNG.integers(0, 11, 37)
    apart, together, totals = np.zeros_like(logits), logits.copy(), np.zeros((2, 3))
    ops.cross_entropy(logits, labels, 1.0, apart, totals[0])
    ops.cross_entropy(together, labels, 1.0, together, totals[1])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(totals[0], totals[1])


def test_philox_gives_the_published_answers() -> None:
    """Known answers of Philox4x32-10 from the Random123 distribution (Salmon et al. 2011)."""
    answers = {
        ((0, 0, 0, 0), (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)): (
            0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1,
        ),
    }  # fmt: skip
    for (counter, key), words in answers.items():
        got = philox(tuple(np.array([word], np.uint64) for word in counter), key)
        assert tuple(int(word[0]) for word in got) == words


def test_cross_entropy_by_hand() -> None:
    """The loss is -log p, and its gradient p - onehot."""
    logits, labels = _real(8, 4).astype(np.float64), RNG.integers(0, 4, 8)
    gradient, totals = np.zeros_like(logits), np.zeros(3)
    REFERENCE.cross_entropy(logits, labels, 0.5, gradient, totals)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(totals[0], -np.log(probabilities[np.arange(8), labels]).sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient, 0.5 * (probabilities - np.eye(4)[labels]), rtol=1e-12, atol=1e-15)
    assert totals[1] == (probabilities.argmax(axis=1) == labels).sum()
