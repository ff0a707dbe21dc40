"""Jobs that train on a GPU: as many at a time as there are devices, each with one of its own."""

import shutil

import pytest
from project import ROOT, Project

from mlpaper.files import read_json

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TWO_DEVICES = """
import importlib.util, os, sys, types
sys.path.append({engine_tests!r})

class Nvml(types.ModuleType):
    class NVMLError(Exception): pass
    def nvmlInit(self): pass
    def nvmlShutdown(self): pass
    def nvmlSystemGetCudaDriverVersion(self): return 13000
    def nvmlDeviceGetCount(self): return {count}
    def nvmlDeviceGetHandleByIndex(self, number): return number
    def nvmlDeviceGetUUID(self, handle): return f"GPU-{{handle}}"

for name in ("pynvml", "cupy"):
    sys.modules[name] = Nvml(name)
    sys.modules[name].__spec__ = importlib.util.spec_from_loader(name, loader=None)

class Patch:
    def find_spec(self, name, path=None, target=None):
        if name in ("mlpaper.engine.train_job", "mlpaper.evaluate.measure"):
            sys.meta_path.remove(self)
            from emulated_cuda import EmulatedCuda
            from mlpaper.engine import backend
            class Device(EmulatedCuda):
                def description(self):
                    return {{"gpu": os.environ["CUDA_VISIBLE_DEVICES"]}}
            backend.Cuda = Device
        return None

if sys.orig_argv[1:3] in (["-m", "mlpaper"], ["-m", "mlpaper.server"]):
    sys.meta_path.insert(0, Patch())
"""
"""What makes any Python of a copy see emulated devices."""


def _devices(project: Project, count: int) -> None:
    text = TWO_DEVICES.format(engine_tests=str(ROOT / "tests" / "engine"), count=count)
    (project.folder / "src" / "sitecustomize.py").write_text(text)


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler (g++) to emulate a GPU with")
def test_jobs_share_the_devices(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(built.folder / "runtime"))
    targets = [f"results/runs/{path}/run.json" for path in _runs(built)]
    _devices(built, 1)
    outcome = built.snakemake(*targets, "--printshellcmds", "--forcerun", "train")
    assert outcome.code == 0, outcome.output
    assert "--device auto --placement auto" in outcome.output
    made = [read_json(built.folder / target) for target in targets]
    assert [(run["device"], run["placement"], run["machine"]["gpu"]) for run in made] == [
        ("gpu", "resident", "GPU-0")
    ] * 2
    intervals = []
    for target in targets:
        stamps = [(built.folder / target).parent / name for name in ("weights.npz", "run.json")]
        intervals.append(tuple(file.stat().st_mtime for file in stamps))
    (first, second) = sorted(intervals)
    assert second[0] > first[1], "the second run began while the first still had the only device"
    _devices(built, 2)
    again = built.snakemake(*targets, "--forcerun", "train")
    assert again.code == 0, again.output
    assert {read_json(built.folder / target)["machine"]["gpu"] for target in targets} <= {"GPU-0", "GPU-1"}


def test_a_gpu_that_is_not_there_is_said_at_once_and_in_the_job(built: Project) -> None:
    """Of a run that was not made before."""
    config = (*built.config, "seeds=[1]")
    (target, *_) = (f"results/runs/{run}/run.json" for run in _runs(built, seeds=(1,)))
    outcome = built.snakemake(target, config=(*config, "device=gpu"))
    assert outcome.code != 0
    assert outcome.output.count("device: gpu: no GPU for jobs on this machine, since ") == 1
    log = built.folder / "results" / "logs" / "train" / f"{target.split('/')[2]}.log"
    assert "mlpaper: device: gpu was asked for, but " in log.read_text()
    assert not (built.folder / target).exists()
    assert built.snakemake(target, config=config).code == 0
    assert read_json(built.folder / target)["device"] == "cpu"


def _runs(project: Project, **config: object) -> list[str]:
    from mlpaper.study.plan import load_plan

    plan = load_plan({"scale": "tiny", "studies": ["tiny"]} | config, project.folder / "workflow")
    return [run for runs in plan.names["tiny"].values() for run in runs]
