import itertools
import math

import pytest

from tinygrad_gpt.optim import warmup_cosine


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [warmup_cosine(step, 10, peak=1.0, warmup=4, initial=0.2, minimum=0.1) for step in range(10)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=1e-15)
    assert rates[7] == pytest.approx(0.55, abs=1e-15)  # half way down
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))
    assert rates[9] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 5 / 6)), abs=1e-15)


def test_without_warm_up_the_first_rate_is_the_peak():
    assert warmup_cosine(0, 10, peak=0.5) == 0.5


def test_behind_the_end_the_rate_stays_at_its_minimum():
    assert warmup_cosine(10, 10, peak=1.0, minimum=0.1) == pytest.approx(0.1, abs=1e-15)
    assert warmup_cosine(99, 10, peak=1.0, minimum=0.1) == pytest.approx(0.1, abs=1e-15)


def test_a_run_that_is_all_warm_up_divides_by_no_zero():
    assert [warmup_cosine(step, 4, peak=1.0, warmup=4) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warmup_cosine(4, 4, peak=1.0, warmup=4) == 1.0


@pytest.mark.parametrize("warmup", [1, 7, 100])
def test_the_first_step_of_a_warm_up_trains(warmup):
    rates = [warmup_cosine(step, 1000, peak=0.3, warmup=warmup) for step in range(warmup + 1)]
    assert rates == pytest.approx([0.3 * (step + 1) / (warmup + 1) for step in range(warmup + 1)], rel=1e-12)


def test_the_falling_part_is_torchs_cosine():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.7)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.02)
    for step in range(50):
        ours = warmup_cosine(step + 10, 60, peak=0.7, warmup=10, minimum=0.02)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
