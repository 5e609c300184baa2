"""The loop of all training runs, on a task that learns four tokens by heart."""

import numpy as np
import pytest
import tiny
from run_folders import assert_same_run

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.errors import CheckpointError, DataError, TinygradError
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.runs import run as runs
from tinygrad_gpt.runs.run import Run, Task, begin, loss_scale_of, part_of, steps
from tinygrad_gpt.train import Batch

IDS = np.array([[1, 2, 3, 4]])


class Settings:
    seed, max_norm, precision, save_every = 3, 1.0, "float32", 2


class ByHeart(Task):
    config, total = Settings, 5

    def __init__(self):
        self.model = tiny.language_model().transformer

    def optimizer(self):
        return AdamW(self.model.parameters())

    def rate(self, step):
        return 0.01 / (step + 1)

    def batches(self, step):
        return [Batch(1, lambda rows: (1,), lambda rows, factor: self.model.loss(IDS[rows, :-1], IDS[rows, 1:]))]

    def tokens(self, done):
        return 3 * done

    def scores(self, done):
        return {"even": 1.0} if done % 2 == 0 else {}

    def write(self, folder, log):
        (folder / "written.txt").write_text(str(log[-1].step))

    def state(self):
        return {f"model.{name}": array for name, array in self.model.arrays().items()}

    def restore(self, tensors):
        self.model.load_state_dict(part_of(tensors, "model."))


def quiet(progress):
    pass


def test_the_loop_asks_the_task_at_each_step():
    task = ByHeart()
    log = list(steps(task, task.optimizer(), loss_scale_of(task)))
    assert [(entry.step, entry.total, entry.tokens) for entry in log] == [(n, 5, 3 * n) for n in range(1, 6)]
    assert [entry.lr for entry in log] == [task.rate(step) for step in range(5)]
    assert [entry.step for entry in log if entry.scores] == [2, 4]
    assert log[-1].loss < log[0].loss


def test_the_loop_goes_on_where_the_optimiser_is():
    task = ByHeart()
    optimizer = task.optimizer()
    optimizer.steps = 3
    assert [entry.step for entry in steps(task, optimizer, None)] == [4, 5]


def test_a_task_can_end_early():
    task = ByHeart()
    task.finished = lambda done: done >= 2
    assert [entry.step for entry in steps(task, task.optimizer(), None)] == [1, 2]


def test_the_clock_includes_the_evaluation_of_a_step(monkeypatch):
    task, now = ByHeart(), [0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])

    def scores(done):
        now[0] += 10
        return {}

    monkeypatch.setattr(task, "scores", scores)
    assert [entry.seconds for entry in steps(task, task.optimizer(), None)] == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("stopped", range(1, 6))
def test_a_stopped_run_is_resumed_bit_for_bit(stopped, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        folder.mkdir()
    begin(whole, {"name": "run"}, ByHeart()).train(quiet)

    def stop(progress):
        if progress.step == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(half, {"name": "run"}, ByHeart()).train(stop)
    assert (half / "written.txt").read_text() == str(stopped)
    resumed = Run(half, {"name": "run"}, ByHeart())
    resumed.restore()
    assert [entry.step for entry in resumed.train(quiet)] == [1, 2, 3, 4, 5]
    assert_same_run(half, whole)


def test_a_state_that_lacks_something_is_refused(tmp_path):
    run = begin(tmp_path, {"name": "run"}, ByHeart())
    path = tmp_path / "state-a.h5"
    state = native.load(path)
    native.save(path, {name: array for name, array in state.tensors.items() if name != "model.wpe.weight"},
                state.metadata)
    with pytest.raises(CheckpointError, match=r"the state lacks model\.wpe\.weight; start a new run"):
        run.restore()


COUNTS = {"negative": -1, "huge": 10**15, "fraction": 0.5, "nan": np.nan, "list": [1, 2], "true": True}
MOMENTS = {"nan": np.nan, "infinite": np.inf, "true": True, "whole": 1}


@pytest.mark.parametrize(("name", "values"), [
    ("optimizer.steps", COUNTS), ("optimizer.updates.0", COUNTS), ("loss_scale.good_steps", COUNTS),
    ("loss_scale.value", {"zero": 0.0, "negative": -2.0, "infinite": np.inf, "nan": np.nan, "list": [1.0, 2.0]}),
    ("optimizer.m.0", MOMENTS), ("optimizer.v.0", MOMENTS | {"negative": -1.0}),
    ("model.wte.weight", {"nan": np.nan, "infinite": np.inf, "whole": 1, "scalar": np.float32(1)}),
])
def test_every_spoiled_tensor_of_a_state_is_refused_in_one_line(name, values, tmp_path):
    task = ByHeart()
    task.config = type("Float16", (Settings,), {"precision": "float16"})
    run = begin(tmp_path, {"n": 1}, task)
    state = native.load(tmp_path / "state-a.h5")
    for kind, value in values.items():
        like = state.tensors.get(name, np.array(0))
        spoiled = np.full(like.shape, value) if like.ndim and np.ndim(value) == 0 and kind != "scalar" else value
        native.save(tmp_path / "state-a.h5", state.tensors | {name: np.asarray(spoiled)}, state.metadata)
        with pytest.raises(CheckpointError, match=name.partition(".")[2] if "." in name else name) as caught:
            run.restore()
        assert len(str(caught.value)) <= 240 + len(str(tmp_path)), kind
        assert "\n" not in str(caught.value), kind


def test_the_loss_is_scaled_in_float16_alone():
    task = ByHeart()
    assert loss_scale_of(task) is None
    task.config = type("Half", (Settings,), {"precision": "float16"})
    assert loss_scale_of(task) is not None


def test_a_picture_that_cannot_be_drawn_stops_no_run_and_costs_no_state(tmp_path, monkeypatch):
    task, shown = ByHeart(), []

    def show(folder, log):
        assert (folder / "state-b.h5").exists()  # the state of these steps is there already
        shown.append(log[-1].step)
        raise TinygradError("cannot draw (curves.png): no; reinstall matplotlib")

    monkeypatch.setattr(task, "show", show)
    log = begin(tmp_path, {"name": "run"}, task).train(quiet)
    assert [entry.step for entry in log] == [1, 2, 3, 4, 5]
    assert shown == [2, 4]  # the last is shown by the recipe, when the model is there


@pytest.mark.parametrize("what", ["scores", "samples"])
def test_a_step_whose_evaluation_fails_is_saved_and_the_run_goes_on_behind_it(what, tmp_path, monkeypatch):
    task = ByHeart()

    def fail(done):
        if done == 3:
            raise DataError("cannot evaluate (data): no; try")
        return {} if what == "scores" else []

    monkeypatch.setattr(task, what, fail)
    with pytest.raises(DataError, match="cannot evaluate"):
        begin(tmp_path, {"name": "run"}, task).train(quiet)
    assert (tmp_path / "written.txt").read_text() == "3"
    resumed = Run(tmp_path, {"name": "run"}, ByHeart())
    resumed.restore()
    assert resumed.optimizer.steps == 3
    log = resumed.train(quiet)
    assert [entry.step for entry in log] == [1, 2, 3, 4, 5]


def test_a_failed_evaluation_is_made_up_for_when_the_run_is_resumed(tmp_path, monkeypatch):
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        folder.mkdir()
    begin(whole, {"name": "run"}, ByHeart()).train(quiet)
    task = ByHeart()

    def fail(done):
        if done == 4:
            raise DataError("cannot evaluate (data): no; try")
        return ByHeart.scores(task, done)

    monkeypatch.setattr(task, "scores", fail)
    with pytest.raises(DataError, match="cannot evaluate"):
        begin(half, {"name": "run"}, task).train(quiet)
    resumed = Run(half, {"name": "run"}, ByHeart())
    resumed.restore()
    resumed.train(quiet)
    assert_same_run(half, whole)


def test_a_run_that_saves_no_states_leaves_none(tmp_path):
    task = ByHeart()
    task.config = type("Unsaved", (Settings,), {"save_every": 0})
    assert len(begin(tmp_path, {"name": "run"}, task).train(quiet)) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "written.txt"}
