"""Every benchmark runs, at sizes that measure nothing, and prints its table."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import classify_step
import cold_start
import common
import generate
import inference
import load
import scaling
import train_step
import tricks

BENCHMARKS = Path(train_step.__file__).parent
TINY = common.Options(threads=(1,), blocks=1, tiny=True)
SCRIPTS = {module.__name__: module for module in (train_step, inference, classify_step, generate, load)}


@pytest.fixture
def one_process(monkeypatch):
    """Workers run one after the other in this process, which saves the imports of torch."""

    def turns(script, arguments, blocks, threads, fresh=False):
        workers = SCRIPTS[Path(script).stem].BENCHMARK.workers
        for name, settings in arguments.values():
            times = workers[name](**json.loads(settings))()
            assert times is None or times > 0
        return {name: [{"ms": 2.0, "mib": 3.0, "own_mib": 1.0}] * blocks for name in arguments}

    monkeypatch.setattr(common, "take_turns", turns)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_case_runs_on_every_side(name):
    pytest.importorskip("torch", reason="it is one of the sides")
    lines = SCRIPTS[name].BENCHMARK.measure(TINY)
    assert all(line.ratio == 1 for line in lines)
    assert any(line.goal for line in lines)
    rows = common.lines_table(lines).split("\n")
    assert len(rows) == 2 + len(lines)
    assert {row.count("|") for row in rows} == {10}


@pytest.mark.usefixtures("one_process")
def test_growth_is_measured_and_drawn(tmp_path):
    points = scaling.points(TINY)
    assert len(scaling.points_table(points).split("\n")) == 2 + len(points)
    assert len(scaling.summary(points, TINY)) == 2 * len(scaling.AXES)
    scaling.draw(tmp_path / "scaling.png", points)
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_twice_the_work_is_predicted_to_take_twice_as_long():
    sizes = scaling.SIZES
    assert scaling.operations(**sizes | {"batch": 2}) == 2 * scaling.operations(**sizes)
    assert 2 * scaling.operations(**sizes) < scaling.operations(**sizes | {"length": 256})  # attention
    assert 2 * scaling.operations(**sizes) > scaling.operations(**sizes | {"n_layer": 12})  # the head


@pytest.fixture(scope="module")
def all_tricks(tmp_path_factory):
    return {trick.name: trick for trick in tricks.tricks(TINY, str(tmp_path_factory.mktemp("tricks")))}


def test_no_trick_changes_a_result(all_tricks):
    for trick in all_tricks.values():
        tolerance = 1e-2 if "half" in trick.name else 1e-5
        expected = np.array(trick.without())
        np.testing.assert_allclose(trick.with_it(), expected, rtol=tolerance, atol=tolerance, err_msg=trick.name)
        assert np.ptp(expected) > 0, trick.name


def test_every_trick_is_explained(all_tricks):
    page = tricks.PAGE.read_text(encoding="utf-8")
    for name in all_tricks:
        assert page.count(f"**{name}**") == 1, name


def test_every_trick_is_timed(all_tricks):
    rows = tricks.measure(TINY)
    assert [name for name, *_ in rows] == list(all_tricks)
    assert all(figure > 0 for _, *figures in rows for figure in figures)


def test_processes_take_turns_and_tell_their_own_figures():
    """Two real processes, without torch."""
    settings = common.tiny(inference.BENCHMARK.cases[0].settings)
    blocks = inference.BENCHMARK.figures(("ours", "limit"), settings, 1, common.Options((1,), blocks=2))
    assert list(blocks) == ["ours", "limit"]
    for figures in blocks.values():
        assert len(figures) == 2
        assert all(block["ms"] > 0 for block in figures)


def test_the_answer_to_a_user_is_timed(monkeypatch):
    monkeypatch.setattr(cold_start, "COMMANDS", {name: ["-c", "pass"] for name in cold_start.COMMANDS})
    lines = cold_start.measure(TINY)
    assert [line.work for line in lines] == ['`cli.py classify "text"`', "`cli.py --help`"]
    assert all(line.ours > 0 and line.limit > 0 for line in lines)


def test_a_goal_is_met_by_the_ratio_or_by_the_figure_itself():
    assert common.Line("work", "ms", 3, 4, 0.75, goal=0.8).cells()[5:8] == ["0.75", "≤ 0.8", "yes"]
    assert common.Line("work", "s", 0.5, 4, 0.125, goal=0.4, absolute=True).cells()[5:8] == ["0.12", "≤ 0.4 s", "no"]
    assert common.Line("heading").cells() == ["heading", *[""] * 8]


@pytest.fixture
def suite():
    """The module `all`, under a name that hides nothing."""
    return importlib.import_module("all")


def test_the_parts_of_finetuning_stand_beside_torch(suite, monkeypatch):
    seconds = {"torch": 20.0, "engine": 15.0, "dynamic": 5.0, "pruned": 4.0, "cached": 1.0}
    monkeypatch.setattr(suite.finetune_spam, "measure",
                        lambda which, settings, whole: {"seconds": seconds[which], "first": seconds[which] / 10})
    whole, *steps = suite.measure_finetuning(common.Options((1,)))
    assert whole.met
    assert whole.ratio == 0.05
    assert [line.ratio for line in steps] == [0.75, 0.25, 0.2, 0.05]
    assert suite.measure_finetuning(TINY) == []


def test_the_engine_has_a_ratio_and_a_cost_per_op(suite, monkeypatch):
    pytest.importorskip("torch", reason="it is one of the sides")

    def turns(script, arguments, blocks, threads):
        figures = {}
        for name, make in {"ours": suite.engine.our_work, "torch": suite.engine.torch_work,
                           "ops": suite.engine.op_work}.items():
            functions = make()
            for function in functions.values():
                function()
            figures[name] = [{function: 0.0 if "NumPy" in function else 800.0 for function in functions}]
        return figures

    monkeypatch.setattr(suite, "take_turns", turns)
    step, op = suite.measure_engine(TINY)
    assert step.ratio == 1
    assert op.ours == 800 / suite.engine.CHAIN
    assert op.met


def test_all_parts_stand_in_one_table():
    code = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import all
all.PARTS = {{title: lambda options: [all.Line("work", "ms", 1, 2, 0.5, goal=0.6, threads=1)] for title in all.PARTS}}
all.main()
"""
    done = subprocess.run([sys.executable, "-c", code, "--tiny"], capture_output=True, text=True, check=True)
    assert done.stdout.count("| work | 1 | ms | 1 | 2 | 0.50 | ≤ 0.6 | yes |") == 9
    assert "9 of 9 goals are met" in done.stdout
    for title in ("Training step", "Generation", "Engine", "How cost grows"):
        assert f"**{title}**" in done.stdout
