"""No output replaces what a command reads, a run or a model, whatever name it is given."""

import hashlib
import os
import shutil

import click
import published
import pytest
import state_dicts
import tensorflow_checkpoint
import tiny

from tinygrad_gpt.checkpoints.hdf5_guard import HDF5_SIGNATURE
from tinygrad_gpt.cli import group, main
from tinygrad_gpt.cli.options import Number
from tinygrad_gpt.cli.paths import FOLDER_FILES, INPUTS, OUTPUT_FILES, OUTPUT_FOLDERS
from tinygrad_gpt.recipes.experiments.experiments import RUN_FILE
from tinygrad_gpt.recipes.experiments.report import REPORT_FILES
from tinygrad_gpt.runs.saved_model import save_model

TEXTS = {  # parameters that are neither files nor numbers nor choices
    "texts", "prompts", "instruction", "input_", "names", "text_column", "label_column", "encoding", "judge",
    "judge_model", "targets", "context", "rows", "seeds", "stop", "sample", "text", "label",
    "entry", "shapes", "host", "allow_host", "student", "label_separator", "classes", "package",
}


def commands(command=group, words=()):
    """(words, command) of every command."""
    if not isinstance(command, click.Group):
        return [(words, command)]
    context = click.Context(command)
    return [pair for name in command.list_commands(context)
            for pair in commands(command.get_command(context, name), (*words, name))]


def test_every_parameter_is_an_input_an_output_or_a_text():
    unknown, paths = set(), set()
    for words, command in commands():
        for param in command.params:
            if isinstance(param.type, click.Choice | Number) or getattr(param, "is_flag", False):
                continue
            if isinstance(param.type, click.Path):
                paths.add(param.name)
            if param.name not in {*INPUTS, *OUTPUT_FILES, *OUTPUT_FOLDERS, *TEXTS}:
                unknown.add((*words, param.name))
    assert not unknown
    assert paths <= {*OUTPUT_FILES, *OUTPUT_FOLDERS}


@pytest.fixture(scope="module")
def made(tmp_path_factory, models):
    """A folder with data, models, a run of each kind and an exported model."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(models / "classifier.h5", folder)
    tensorflow_checkpoint.openai_folder(folder / "124M", published.weights(), n_head=3)
    state_dicts.state_dict_file(folder / "book.pth", published.weights())
    save_model(folder / "language.h5", tiny.language_model(n_ctx=96))
    tiny.labelled_file(folder / "data.csv", 30)
    tiny.text_file(folder / "text.txt", 30)
    tiny.instruction_file(folder / "tasks.json", chosen="ski", rejected="No")
    (folder / "two.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in tiny.texts(
        60, ("snow", "sun", "sun"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for arguments in RUNS[:-1]:
            assert main([*arguments, "--out", f"run-{arguments[1] if arguments[0] == 'finetune' else arguments[0]}"
                         ]) == 0
    return folder


RUNS = [
    ["export", "--model", "language.h5"],
    ["pretrain", "--data", "text.txt", "--steps", "2", "--n-ctx", "8", "--n-embd", "8", "--n-head", "1", "--n-layer",
     "1", "--vocab-size", "260", "--hold-out", "0.2", "--sample", "a"],
    ["finetune", "classifier", "--data", "data.csv", "--base", "language.h5", "--epochs", "1"],
    ["finetune", "instructions", "--data", "tasks.json", "--base", "language.h5", "--epochs", "1", "--style", "phi3",
     "--eval-every", "1"],
    ["finetune", "preferences", "--data", "tasks.json", "--base", "language.h5", "--epochs", "1", "--style", "phi3"],
    ["experiments", "--data", "two.tsv", "--base", "language.h5", "--rows", "3", "--epochs", "1"],
]


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    shutil.copytree(made, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def content(folder):
    """The digest of every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_table_has_every_file_that_commands_write_into_folders(made):
    runs = [path for path in made.iterdir() if path.name.startswith("run-")]
    assert len(runs) == len(RUNS) - 1
    written = {path.name for run in runs for path in run.iterdir()}
    assert written | {RUN_FILE, *REPORT_FILES} <= FOLDER_FILES


CLASSIFY = ["classify", "--model", "classifier.h5"]
RESPOND = ["evaluate", "instructions", "--model", "language.h5", "--max-new-tokens", "1", "--data", "tasks.json"]
PAGE = ["derivatives"]
OVER_FILES = [  # a command and the file that its output would replace
    ([*CLASSIFY, "--file", "data.csv", "--text-column", "text"], "data.csv"),
    ([*CLASSIFY, "--file", "two.tsv", "--text-column", "2"], "two.tsv"),
    ([*CLASSIFY, "a"], "run-pretrain/log.jsonl"),
    (RESPOND, "tasks.json"),
    *((arguments, target) for arguments in (RESPOND, PAGE) for target in (
        "language.h5", "classifier.h5", "book.pth", "124M/model.ckpt.index", "124M/model.ckpt.data-00000-of-00001",
        "124M/hparams.json", "run-pretrain/config.json", "run-pretrain/log.jsonl", "run-pretrain/model.h5",
        "run-pretrain/state-a.h5", "run-pretrain/samples.txt", "run-pretrain/tokens.npy", "run-pretrain/curves.png",
        "run-classifier/report.json", "run-classifier/model.h5", "run-instructions/vocabulary.json",
        "run-instructions/LOG.JSONL", "run-export/model.safetensors", "run-export/merges.txt")),
]


def symbolic(target, folder):
    (folder / f"link{target.suffix}").symlink_to(target)
    return folder / f"link{target.suffix}"


def hard(target, folder):
    os.link(target, folder / f"hard{target.suffix}")
    return folder / f"hard{target.suffix}"


def dotted(target, folder):
    return target.parent / ".." / target.parent.name / "." / target.name


def linked_folder(target, folder):
    (folder / "elsewhere").symlink_to(target.parent)
    return folder / "elsewhere" / target.name


NAMES = [lambda target, folder: target, symbolic, dotted, linked_folder]


@pytest.mark.parametrize("named", NAMES, ids=["itself", "symbolic", "dotted", "folder"])
@pytest.mark.parametrize(("arguments", "target"), OVER_FILES)
def test_an_output_replaces_no_input_run_or_model(arguments, target, named, place, tmp_path, capsys):
    output = named(place / target, tmp_path)
    before = content(place)
    assert main([*arguments, "--output", str(output)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: cannot write ({output}): it ")
    assert err.endswith("; name another file\n")
    assert err.count("\n") == 1
    assert content(place) == before


@pytest.mark.parametrize(("arguments", "target"), OVER_FILES[:4] + OVER_FILES[4:6])
def test_a_hard_link_is_the_same_file(arguments, target, place, tmp_path, capsys):
    if target.endswith("log.jsonl"):
        arguments = [*CLASSIFY, "--file", target]
    assert main([*arguments, "--output", str(hard(place / target, tmp_path))]) == 2
    assert "; name another file" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="this system has no /dev/fd")
def test_a_descriptor_of_an_input_is_the_same_file(place, capsys):
    before = content(place)
    with open("tasks.json", "r+b") as opened:
        assert main([*RESPOND, "--output", f"/dev/fd/{opened.fileno()}"]) == 2
    assert "it is a file of --data" in capsys.readouterr().err
    assert content(place) == before


def test_standard_input_is_an_input(place, capsys, monkeypatch):
    with open("data.csv", encoding="utf-8") as opened:
        monkeypatch.setattr("sys.stdin", opened)
        assert main([*CLASSIFY, "--file", "-", "--output", "data.csv"]) == 2
    assert "cannot write (data.csv): it is the file of --file" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(FOLDER_FILES))
@pytest.mark.parametrize(("run", "option"), [(run, name) for run, name in [
    (RUNS[1], "--data"), (RUNS[2], "--data"), (RUNS[3], "--data"), (RUNS[0], "--model"), (RUNS[5], "--data")]])
def test_a_folder_replaces_no_input(run, option, name, place, capsys):
    os.mkdir("new")
    given = run[run.index(option) + 1]
    os.rename(given, f"new/{name}")
    arguments = [f"new/{name}" if word == given else word for word in run]
    before = content(place)
    assert main([*arguments, "--out", "new"]) in (1, 2)
    assert capsys.readouterr().err.startswith("error: ")
    assert content(place) == before


@pytest.mark.parametrize("arguments", RUNS[:-1])
@pytest.mark.parametrize("occupied", ["run-export", "run-pretrain", "run-classifier", "run-instructions"])
def test_a_folder_with_a_run_or_a_model_is_not_used_again(arguments, occupied, place, capsys):
    before = content(place)
    assert main([*arguments, "--out", occupied]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert content(place) == before


@pytest.mark.parametrize("arguments", RUNS[1:])
def test_a_link_in_a_folder_does_not_lead_to_a_model(arguments, place, capsys):
    os.mkdir("new")
    for name in ("log.jsonl", "report.md"):
        os.symlink("../classifier.h5", f"new/{name}")
    before = content(place)
    assert main([*arguments, "--out", "new"]) == 2
    assert "it holds a model or an archive" in capsys.readouterr().err
    assert content(place) == before


@pytest.mark.parametrize("target", ["answers.jsonl", "run-pretrain/answers.jsonl", "run-export/answers.jsonl"])
def test_results_are_replaced_by_results(target, place, capsys):
    for _ in range(2):
        assert main([*RESPOND, "--output", target]) == 0
    assert len((place / target).read_text().splitlines()) == 20
    capsys.readouterr()


@pytest.mark.parametrize("start", [HDF5_SIGNATURE, b"PK\x03\x04", b"\x80\x02}q", b"GGUF", b"\x1f\x8b", b"\x93NUMPY",
                                   b"\x10\0\0\0\0\0\0\0{}"])
def test_an_output_replaces_no_weights_of_any_program(start, place, capsys):
    (place / "weights.bin").write_bytes(start)
    assert main([*RESPOND, "--output", "weights.bin"]) == 2
    assert "it holds a model or an archive" in capsys.readouterr().err
    assert (place / "weights.bin").read_bytes() == start
