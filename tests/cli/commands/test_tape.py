"""The command `tape`: the table, JSON, Graphviz, the composed and the frozen step."""

import json
import re

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.recipes.saved_trace import load_trace


def tape(capsys, *options):
    assert main(["tape", *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def nodes(capsys, *options):
    return [json.loads(line) for line in tape(capsys, "--json", *options).splitlines()]


def kept(rows):
    return sum(row["bytes"] for row in rows)


def test_the_table_shows_every_node_of_the_step(capsys):
    out, rows = tape(capsys), nodes(capsys)
    assert len(out.splitlines()) == len(rows) + 4
    assert f"{len(rows)} nodes: " in out
    assert f"Kept for backward: {kept(rows):,} bytes" in out
    for row, line in zip(rows, out.splitlines()[1:], strict=False):
        assert line.split()[:2] == [str(row["number"]), row["label"]]


def test_json_tells_name_shape_and_bytes_of_each_saved_array(capsys):
    rows = nodes(capsys)
    assert set(rows[0]) == {"number", "op", "label", "shape", "inputs", "saved", "gradients", "seconds",
                            "bytes"}
    assert (rows[0]["op"], rows[0]["label"], rows[0]["shape"]) == (None, "wte.weight", [50, 16])
    saved = next(row for row in rows if row["op"] == "self_attention")["saved"]
    assert {array["name"]: (array["shape"], array["bytes"]) for array in saved} == {
        "qkv": ([2, 8, 48], 3072), "exps[0]": ([2, 2, 8, 8], 1024), "row_max": ([2, 2, 8, 1], 128),
        "row_sum": ([2, 2, 8, 1], 128), "keep": ([2, 2, 8, 8], 256)}


def test_the_step_is_one_that_trains(capsys):
    """The loss is that of `GPT2.loss`, with dropout, and each gradient is looked for in a plain function."""
    rows = [row for row in nodes(capsys) if row["op"]]
    assert rows[-1]["op"] == "linear_cross_entropy"
    assert {row["op"] for row in rows} == {"add", "bias_gelu", "dropout", "embedding", "layer_norm", "linear",
                                           "linear_cross_entropy", "self_attention", "slice"}
    assert all("ops/fast" not in place for row in rows for place in row["gradients"])
    assert all(row["gradients"] for row in rows)


def test_the_plain_step_keeps_what_plain_functions_save(capsys):
    plain = next(row for row in nodes(capsys, "--ops", "plain") if row["op"] == "bias_gelu")
    assert {array["name"] for array in plain["saved"]} == {"x", "h"}


def test_the_composed_step_has_more_nodes_and_keeps_more(capsys):
    fused, composed = nodes(capsys), nodes(capsys, "--composed")
    assert len(composed) > 2 * len(fused)
    assert kept(composed) > kept(fused)
    assert "self_attention" not in {row["op"] for row in composed}


def test_frozen_weights_save_nothing_below_the_first_trainable_one(capsys):
    full, frozen = nodes(capsys), nodes(capsys, "--frozen")
    assert {row["label"].split(".")[1] for row in frozen if row["label"].startswith("h.")} == {"1"}
    assert kept(frozen) < kept(full)
    assert [row["op"] for row in frozen].count("self_attention") == 1


def test_dot_is_a_graph(capsys):
    out = tape(capsys, "--dot")
    assert out.startswith("digraph tape {\n")
    assert out.endswith("}\n")
    assert out.count(" -> ") == sum(len(row["inputs"]) for row in nodes(capsys))


def test_two_formats_are_refused(capsys):
    assert main(["tape", "--json", "--dot"]) == 2
    assert capsys.readouterr().err.startswith("error: tape (--json, --dot): two formats asked for")


@pytest.mark.parametrize("options", [[], ["--composed"], ["--frozen"]])
def test_the_step_is_the_same_every_time(options, capsys):
    assert tape(capsys, *options) == tape(capsys, *options)


def test_a_step_of_a_model_on_a_text(capsys):
    rows = nodes(capsys, "--text", "Once upon a time")
    assert (rows[0]["label"], rows[0]["shape"], rows[-1]["op"]) == ("wte.weight", [4096, 192], "linear_cross_entropy")
    frozen = nodes(capsys, "--text", "Once upon a time", "--frozen")
    assert len(frozen) < len(rows)
    classifier = nodes(capsys, "--model", "sms-spam", "--text", "win cash", "--label", "spam")
    assert classifier[-1]["op"] == "cross_entropy"


def test_time_is_measured_for_each_op(capsys):
    rows = nodes(capsys, "--time")
    assert all((row["seconds"] is None) == (row["op"] is None) for row in rows)
    assert all(forward > 0 and back > 0 for forward, back in (row["seconds"] for row in rows if row["op"]))
    out = tape(capsys, "--time")
    assert "forward ms  back ms" in out.splitlines()[0]
    assert re.search(r"Forward [0-9.]+ ms, back [0-9.]+ ms\.", out)


@pytest.mark.parametrize(("arguments", "said"), [
    (("--model", "storyteller"), "--model (arguments): there is no text to read; give --text"),
    (("--text", " "), "empty text: a step needs a token to predict"),
    (("--text", "hi", "--label", "spam"), "label (spam): the model is a language model"),
])
def test_what_tape_refuses(capsys, arguments, said):
    assert main(["tape", *arguments]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_saved_values_are_read_by_compare(capsys, tmp_path):
    assert main(["tape", "--save", str(tmp_path / "step.h5")]) == 0
    assert capsys.readouterr().err == f"values and gradients written to {tmp_path / 'step.h5'}\n"
    assert len(load_trace(tmp_path / "step.h5")) == 58
