"""Every benchmark runs, at sizes that measure nothing, and prints its table."""

import importlib
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import classify_step
import classify_throughput
import cold_start
import common
import few_rows
import forms
import generate
import gpu
import gpu_report
import gpu_sides
import host
import inference
import load
import page
import scaling
import serve_load
import threads
import train_step
import tricks

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.errors import UsageError

BENCHMARKS = Path(train_step.__file__).parent
TINY = common.Options(threads=(1,), blocks=1, tiny=True)
SCRIPTS = {module.__name__: module for module in (
    train_step, inference, classify_step, classify_throughput, generate, load)}


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


def test_a_second_thread_changes_no_result():
    pytest.importorskip("threadpoolctl", reason="it holds BLAS to one thread")
    for pair in threads.pairs(TINY):
        np.testing.assert_allclose(pair.with_it(), pair.without(), rtol=1e-4, atol=1e-6, err_msg=pair.name)


def test_every_trick_is_explained(all_tricks):
    text = tricks.PAGE.read_text(encoding="utf-8")
    for name in all_tricks:
        assert text.count(f"**{name}**") == 1, name


def test_every_trick_is_timed(all_tricks):
    rows = tricks.measure(TINY)
    assert [name for name, *_ in rows] == list(all_tricks)
    assert all(figure > 0 for _, *figures in rows for figure in figures)


def test_products_of_few_rows_stand_beside_others(monkeypatch):
    pytest.importorskip("torch", reason="it is one of the sides")
    monkeypatch.setattr(few_rows, "take_turns", lambda script, sides, blocks, threads: {
        name: [dict.fromkeys(few_rows.block_of(side, json.loads(is_tiny))(), 0.01)]  # of any time it would be chance
        for name, (side, is_tiny) in sides.items()})
    tables = few_rows.measure(TINY)
    assert [len(table.split("\n")) for table in tables] == [2 + len(few_rows.TINY_SHAPES)] * 3
    figures = [cell for table in tables for row in table.split("\n")[2:] for cell in row.split(" | ")[2:]]
    assert len(figures) == 3 * len(few_rows.TINY_SHAPES) * len(few_rows.ROWS)
    assert all(float(figure.strip(" |")) > 0 for figure in figures)


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


LINE = common.Line("work", "ms", 1, 2, 0.5, goal=0.6, threads=1)


def test_all_parts_stand_in_one_table(tmp_path):
    code = """
import benchmarks.all as all
all.PARTS = {title: lambda options: [all.Line("work", "ms", 1, 2, 0.5, goal=0.6, threads=1)] for title in all.PARTS}
all.main()
"""
    done = subprocess.run([sys.executable, "-c", code, "--tiny", "--out", str(tmp_path)], capture_output=True,
                          text=True, check=True, cwd=BENCHMARKS.parent)
    assert done.stdout.count("| work | 1 | ms | 1 | 2 | 0.50 | ≤ 0.6 | yes |") == 9
    assert "9 of 9 goals are met" in done.stdout
    for title in ("Training step", "Generation", "Engine", "How cost grows"):
        assert f"**{title}** (load" in done.stdout


@pytest.mark.parametrize("error", [FileNotFoundError("data/SMSSpamCollection"), SystemExit("no data set")])
def test_a_part_that_fails_keeps_the_others_and_is_tried_again(suite, monkeypatch, capsys, tmp_path, error):
    begun = []

    def part(title):
        def measured(options):
            begun.append(title)
            if title == "B" and begun.count("B") == 1:
                raise error
            return [LINE]
        return measured

    monkeypatch.setattr(suite, "PARTS", {title: part(title) for title in "ABC"})
    monkeypatch.setattr("sys.argv", ["all", "--tiny", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"not measured: B; the others are kept, and --out {tmp_path} goes on"):
        suite.main()
    printed = capsys.readouterr()
    assert printed.err.count("| work | 1 | ms |") == 2  # as they come
    assert f"| not measured: {type(error).__name__}: {error} |" in printed.out
    assert "2 of 2 goals are met" in printed.out
    suite.main()
    assert begun == ["A", "B", "C", "B"]
    assert "3 of 3 goals are met" in capsys.readouterr().out


def test_other_settings_and_other_processors_are_measured_anew(suite, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(suite, "PARTS", {"A": lambda options: begun.append(options.blocks) or [LINE]})
    for blocks, processor in ((1, "one"), (2, "one"), (1, "one"), (1, "other")):
        monkeypatch.setattr(suite, "kind", lambda processor=processor: processor)
        suite.measure(common.Options((1,), blocks), suite.Results(tmp_path))
    assert begun == [1, 2, 1]


def test_a_worker_that_ends_is_named_and_the_others_are_stopped(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nopen(sys.argv[2] + '.pid', 'w').write(str(os.getpid()))\nsys.stdin.readline()\n"
                      "print(1, flush=True) if 'good' in sys.argv[2] else sys.exit(3)\nsys.stdin.read()\n")
    with pytest.raises(RuntimeError, match=r"script.py: the process 'bad' ended with exit code 3"):
        common.take_turns(str(script), {name: (str(tmp_path / name),) for name in ("good", "bad")}, 2, 1)
    assert not psutil.pid_exists(int((tmp_path / "good.pid").read_text()))


def test_every_script_is_a_module_too():
    """Under `python -m benchmarks.NAME` they find each other as under `python benchmarks/NAME.py`."""
    names = [path.stem for path in sorted(BENCHMARKS.glob("*.py")) if path.stem != "__init__"
             and "torch" not in path.stem]
    assert {"few_labels", "classify_seeds", "recipe"} <= set(names)
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(f'benchmarks.{name}')"
    subprocess.run([sys.executable, "-c", code, *names], check=True, cwd=BENCHMARKS.parent)


CPUINFO = "model name\t: {name}\nflags\t\t: fpu {flags}\n"


@pytest.mark.parametrize(("name", "flags", "expected"), [
    ("AMD EPYC", "avx avx2", "AMD EPYC, AVX2"),
    ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "avx avx2 avx512f", "Intel Xeon Platinum 8481C, AVX-512"),
    ("Intel(R) Xeon(R) Processor", "avx", "Intel Xeon, AVX")])
def test_the_kind_of_a_processor_is_its_name_and_vector_instructions(tmp_path, monkeypatch, name, flags, expected):
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
    assert "," in host.kind()  # without the file, as on other systems
    host.CPUINFO.write_text(CPUINFO.format(name=name, flags=flags))
    assert host.kind() == expected


def test_figures_without_avx512_have_a_kind_of_their_own(tmp_path, monkeypatch):
    started = []

    def execute(program, arguments, environment):
        started.append((program, arguments))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(os, "execve", execute)
    monkeypatch.setattr(sys, "argv", ["inference.py", "--avx2"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "inference.py", "--avx2"])
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
    host.CPUINFO.write_text(CPUINFO.format(name="AMD EPYC", flags="avx avx2 avx512f"))
    for _ in range(2):  # the second time in the new process, which goes on
        common.command_line("")
    assert started == [(sys.executable, [sys.executable, "inference.py", "--avx2"])]
    assert host.kind() == "AMD EPYC, AVX-512 held to AVX2"
    host.CPUINFO.write_text(CPUINFO.format(name="AMD EPYC", flags="avx avx2"))
    assert host.kind() == "AMD EPYC, AVX2"


def test_the_work_of_others_is_told_from_our_own(tmp_path, monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(host, "STAT", tmp_path / "stat")
    assert host.Watch().told() == "load unknown"  # not Linux
    own = iter([(1, 0, 0, 0), (2, 1, 2, 0)])  # 4 seconds, of which 2 in other processes that we started
    monkeypatch.setattr(os, "times", lambda: next(own))
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0, 0))
    host.STAT.write_text(f"cpu {10 * tick} 0 0 {20 * tick} 0 0 0 0 0 0\n")
    watch = host.Watch()
    host.STAT.write_text(f"cpu {14 * tick} 0 {1 * tick} {26 * tick} {4 * tick} 0 0 {5 * tick} 0 0\n")  # 5 stolen
    assert watch.told() == "load 1.2 before and 1.2 after, 30% of the processor taken by others"


def test_the_machine_tells_its_matrix_product():
    pytest.importorskip("threadpoolctl", reason="it tells the kernels of BLAS")
    assert re.search(r"NumPy [\d.]+, \w+ [\d.]+ \(\w+\)", host.machine())


def test_a_section_keeps_a_table_for_each_kind_of_processor(tmp_path):
    file = tmp_path / "page.md"
    for title, text, kind in (("Goals", "one", "AMD, AVX2"), ("Goals", "two", "Intel, AVX-512"), ("Other", "x", ""),
                              ("Goals", "three", "AMD, AVX2"), ("Other", "y", "")):
        page.write_section(title, text, file, of=kind)
    assert file.read_text() == (page.HEADER + "\n## Goals\n\n### AMD, AVX2\n\nthree\n\n### Intel, AVX-512\n\ntwo\n"
                                "\n## Other\n\ny\n")


# -- on a GPU, without one


class LocalSide:
    """A side of gpu.py in this process, on the stand-in for CuPy, which saves the imports of torch."""

    def __init__(self, script, *arguments):
        self.side = importlib.import_module(Path(script).stem)

    def ask(self, seconds, **request):
        with on_backend("strict"):
            return gpu_sides.answer(self.side.WORKS, self.side.give_back, **json.loads(json.dumps(request)))

    def end(self):
        pass


@pytest.fixture(scope="module")
def gpu_run(tmp_path_factory):
    """A dry run of all parts but the tests, and its report."""
    pytest.importorskip("torch", reason="it is one of the sides")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "Side", LocalSide)
        patch.setattr(gpu.finetune_spam, "SIZES", dict(gpu.finetune_spam.SIZES))
        run = gpu.new_run(True, tmp_path_factory.mktemp("gpu"))
        gpu.measure(run, [part for part in gpu.PARTS if part not in ("tests", "row-10")], write=True)
    return run, (run.out / "gpu.md").read_text()


@pytest.mark.parametrize("fails", [False, True])
def test_each_piece_of_work_gives_back_its_memory(fails):
    """The sides share one GPU: what one keeps when it is done, the others lack."""
    seen = []

    class Array:
        pass

    def train(steps):
        array = Array()
        array.itself = array  # a cycle, which only the collector ends
        weakref.finalize(array, seen.append, "freed")
        if fails:
            raise MemoryError
        return {"steps": steps}

    answer = gpu_sides.answer({"train": train}, lambda: seen.append("given back"), "train", steps=3)
    assert seen == ["freed", "given back"]
    assert ("error" in answer) == fails


def errors_of(found):
    if isinstance(found, dict):
        yield from ([found["error"]] if "error" in found else [])
        yield from (error for value in found.values() for error in errors_of(value))
    elif isinstance(found, list):
        yield from (error for value in found for error in errors_of(value))


def test_everything_for_a_gpu_runs_without_one(gpu_run):
    run, text = gpu_run
    assert list(errors_of(run.found)) == []
    assert run.found["agreement"]["ops"]["failures"] == {}
    assert max(run.found["agreement"]["ops"]["worst"].values()) < 1e-5
    limits = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 1e-2, "float16": 1e-2}
    kernels = run.found["agreement"]["kernels"]["cases"]
    assert {"linear", "layer_norm", "self_attention, padded"} <= set(kernels)
    assert all(figures[name] < limit for figures in kernels.values() for name, limit in limits.items())
    assert set(run.found["training"]["batches"]["2"]) == {
        "ours float32", "ours tf32", "ours bfloat16", "torch book float32", "torch book tf32", "torch sdpa float32",
        "torch sdpa tf32", "torch sdpa bfloat16", "torch compiled bfloat16"}
    assert "A dry run at tiny sizes" in text
    assert "not measured" not in re.sub(r"utilisation \| ≥ 0.[34] \| not measured", "", text)  # there is no peak
    assert json.loads((run.out / "gpu.json").read_text())["training"]["length"] == 16


def test_both_sides_of_the_gpu_do_the_same_work(gpu_run):
    blocks = gpu_run[0].found["training"]["batches"]["2"]
    first = [blocks[name][0]["loss"] for name in ("ours float32", "torch book float32", "torch sdpa float32")]
    assert first == pytest.approx([np.log(gpu.TINY["vocab_size"])] * 3, abs=0.05)  # then they learn
    runs = gpu_run[0].found["finetuning"]["runs"]
    assert {(run["side"], run["trained"]) for run in runs} == {
        (side, trained) for side in ("ours", "book") for trained in ("last-block", "all")}
    assert len({run["steps"] for run in runs}) == 1


def test_the_library_s_attention_is_measured_where_it_can_run():
    train = importlib.import_module("gpu_ours").WORKS["train"]
    with pytest.raises(UsageError, match=r"attention is 'cudnn' \(backend numpy\)"):
        train(batch=1, length=4, steps=1, precision="bfloat16", attention="cudnn", **gpu.TINY)


def test_a_step_is_wholly_told_apart(gpu_run):
    ops = gpu_run[0].found["profile"]["float32"]["ops"]
    assert {"linear", "layer_norm", "linear_cross_entropy", "embedding"} <= set(ops)
    assert all(min(forward, backward) > 0 and calls for forward, backward, calls in ops.values())


def test_a_part_that_fails_or_has_no_time_costs_no_other(monkeypatch, tmp_path, capsys):
    def fail(run):
        raise KeyError("figure")

    monkeypatch.setattr(gpu, "Side", LocalSide)
    works = {"training": (1, fail), "shipped": (1, lambda run: {"texts": 5000, "tokens": 20})}
    monkeypatch.setattr(gpu, "PARTS", works)
    run = gpu.new_run(True, tmp_path)
    gpu.measure(run, ["training", "shipped"], write=False)
    text = (tmp_path / "gpu.md").read_text()
    assert "Not measured: `KeyError: 'figure'`" in text
    assert "the classifier reads 5,000 texts/s" in text
    gpu.measure(late := gpu.new_run(True, tmp_path), ["shipped"], write=False, limit=-1)
    assert "shipped" not in late.found
    assert "texts/s" not in capsys.readouterr().out.rsplit("s at most", 1)[1]


def test_without_a_gpu_nothing_is_begun(tmp_path, monkeypatch):
    class NoSide(LocalSide):
        def ask(self, seconds, **request):
            return {"error": "machine: the process ended"}

    monkeypatch.setattr(gpu, "Side", NoSide)
    with pytest.raises(SystemExit, match="nothing was measured; --dry-run shows without a GPU that everything runs"):
        gpu.measure(gpu.new_run(False, tmp_path), ["tests"], write=False)
    side = gpu_sides.Side("gpu_ours.py", "tpu")
    assert side.ask(60, work="machine") == {"error": "machine: the process ended"}


def test_row_10_needs_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_GPT_DATA", str(tmp_path))
    assert "the data is not here" in gpu.row_10(gpu.Run(False, tmp_path, "cupy", {}, {}))["error"]


def test_the_tests_of_a_backend_are_run_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "Side", LocalSide)
    run = gpu.new_run(True, tmp_path)
    gpu.measure(run, ["tests"], write=False)
    counts = run.found["tests"]
    assert counts["passed"] > 0
    assert counts["failed"] == counts["errors"] == counts["interrupted"] == 0
    assert f": {counts['passed']} passed" in (tmp_path / "gpu.md").read_text()


def test_a_side_answers_fails_and_dies():
    side = gpu_sides.Side("gpu_ours.py", "numpy")
    assert side.ask(60, work="machine")["backend"] == "numpy"
    assert "unexpected keyword argument 'no'" in side.ask(60, work="machine", no=1)["error"]
    side.send(work="machine")
    assert "worst" in side.ask(100, work="ops")  # the answer to what was only sent is passed over
    side.process.kill()
    side.process.wait()  # as if it had crashed
    assert side.ask(60, work="machine")["backend"] == "numpy"
    assert side.ask(0.0, work="ops") == {"error": "ops: no answer in 0 s"}
    assert side.ask(60, work="machine") == {"error": "machine: the process ended"}  # for good
    side.end()


def test_peaks_are_found_by_the_name_of_the_device():
    assert gpu_report.peaks("NVIDIA H200")["bfloat16"] == 989e12
    assert gpu_report.peaks("NVIDIA H100 PCIe")["tf32"] == 378e12
    assert gpu_report.peaks("NVIDIA H100 80GB HBM3")["tf32"] == 494e12
    assert gpu_report.peaks("NVIDIA GeForce RTX 4090")["float32"] == 82.6e12
    assert gpu_report.peaks("NVIDIA L40S") == {}


def test_the_work_of_a_token_is_that_of_the_papers():
    expected = 6 * 124e6 + 12 * 12 * 768 * 1024
    assert gpu_report.flops_per_token(1024, **common.GPT2_124M) == pytest.approx(expected, rel=0.01)


def test_goals_are_judged():
    """On made-up figures: twice as fast as torch, at a quarter of an H200's peak."""
    taken = 16 * 1024 * gpu_report.flops_per_token(1024, **common.GPT2_124M) / (989e12 / 4)
    blocks = {"ours bfloat16": [{"seconds": taken, "bytes": 2**34}], "ours, cuDNN bfloat16": [{"seconds": taken / 2}],
              "torch sdpa bfloat16": [{"seconds": 2 * taken}]}
    machine = {"dry": False, "name": "NVIDIA H200", "memory": "", "driver": "", "Python": "", "date": "", "ours": {}}
    text = gpu_report.report({"machine": machine, "training": {"length": 1024, "batches": {"16": blocks}, "took": 1}})
    assert "| training, bfloat16, B 16: times that of torch, SDPA, autocast | ≥ 0.8 | 2.00 | yes |" in text
    assert "| training, bfloat16, B 16: model FLOP utilisation | ≥ 0.3 | 0.25 | no |" in text
    assert "| training, bfloat16, B 16, attention by cuDNN: model FLOP utilisation | ≥ 0.4 | 0.50 | yes |" in text
    assert "| training, float32, B 16: times the tokens/s of eager torch, SDPA | ≥ 1 | not measured |  |" in text
    assert f"| ours bfloat16, B 16 | {1000 * taken:.1f} | " in text


def test_the_forms_are_measured_side_by_side():
    rows = forms.measure(TINY)
    assert {len(row) for row in rows} == {len(forms.HEADER)}
    assert rows[-1][0] == "gradients of nanoGPT's CPU configuration"
    composed, plain, fast, compiled = map(float, rows[-1][-4:])  # MiB
    assert compiled <= fast < plain < composed


def test_the_server_is_loaded_by_many_clients():
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    figures = serve_load.measure(64, threads=1)
    assert [(each.clients, each.requests, each.lost) for each in figures] == [
        (64, 64, 0), (1, 64, 0), (8, 64, 0), (64, 64, 0)]
    assert all(len(each.waits) == each.requests and min(each.waits) > 0 and each.mib > 1 for each in figures)
    assert {len(each.cells()) for each in figures} == {9}
