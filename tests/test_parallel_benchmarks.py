"""The benchmark of two ranks runs, and the page has the figures of the model of many GPUs."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import common
import parallel
import parallel_model
from parallel_model import MODELS, buckets, step_seconds, sum_seconds

from tinygrad_gpt.models.gpt2 import GPT2Config


def test_two_ranks_are_measured_beside_one(monkeypatch):
    if not (shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")):
        pytest.skip("there is no mpiexec (extra 'parallel')")
    name, sizes = next(iter(parallel.CASES.items()))
    monkeypatch.setattr(parallel, "CASES", {name: sizes})
    times, memory = parallel.measure(common.Options((1,), blocks=2, tiny=True))
    assert len(times.split("\n")) == 3
    assert float(times.split("\n")[-1].split("|")[-2]) > 0
    assert [row.split("|")[2].strip() for row in memory.split("\n")[2:]] == ["whole", "sharded"]


def test_the_page_has_what_the_model_says():
    assert parallel_model.text() in parallel_model.PAGE.read_text(encoding="utf-8")


def test_sums_take_longer_over_more_gpus_and_more_bytes():
    assert sum_seconds(1e9, 1) == 0
    times = [sum_seconds(1e9, gpus) for gpus in (2, 8, 16, 64, 1024)]
    assert times == sorted(times)
    assert times[-1] < 2 * 1e9 / parallel_model.NVLINK + 2 * 1e9 / 8 / parallel_model.INFINIBAND + 1e-3
    assert sum_seconds(2e9, 64) > 1.9 * sum_seconds(1e9, 64)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_step_is_no_shorter_than_its_arithmetic_and_no_longer_than_all_parts_in_turn(model):
    assert sum(size for _, size in buckets(model, False)) == 4 * model.parameters
    assert [share for share, _ in buckets(model, False)] == sorted(share for share, _ in buckets(model, False))
    arithmetic = step_seconds(model, 1)
    assert arithmetic == pytest.approx(3 * model.forward + model.update)
    parts = sum(sum_seconds(size, 64) for _, size in buckets(model, False))
    assert arithmetic < step_seconds(model, 64) < step_seconds(model, 64, together=True) < arithmetic + parts + 1e-9
    assert step_seconds(model, 64) < parallel_model.simulated(model, 64)


def test_the_model_counts_parameters_as_the_package_does():
    config = GPT2Config()
    own = MODELS[0]
    assert (own.blocks, own.width, own.vocabulary) == (config.n_layer, config.n_embd, config.vocab_size)
    assert own.parameters == 124_439_808


@pytest.mark.parametrize("gpus", [8, 64, 1024])
def test_spread_moments_save_what_zero_says(gpus):
    for model in MODELS:
        whole, spread = (float(cell) for cell in next(
            line[2:] for line in parallel_model.memory_of(model) if line[1] == f"{gpus:,}"))
        assert whole - spread == pytest.approx(8 * model.parameters * (1 - 1 / gpus) / 2**30, abs=0.11)
