"""OpenAI's checkpoints are read without TensorFlow; damaged and foreign ones are refused."""

import numpy as np
import published
import pytest
import tensorflow_checkpoint as tf
from refusals import refusal_of

from tinygrad_gpt.checkpoints.tensorflow_files import checkpoint_index, is_index, read_tensorflow
from tinygrad_gpt.errors import CheckpointError

WEIGHTS = published.weights()


def loaded(path):
    return {name: tensor.load() for name, tensor in read_tensorflow(path).items()}


def refusal(path):
    return refusal_of(loaded, path)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("per_block", [1, 7, 100])
def test_values_and_names(tmp_path, shards, per_block):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS), shards, per_block=per_block)
    assert is_index(path)
    assert checkpoint_index(tmp_path) == path
    found = read_tensorflow(path)
    assert found.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(found[name].load(), array, err_msg=name)


def test_half_precision(tmp_path):
    for kind, bits in (("float16", lambda a: a.astype(np.float16)), ("bfloat16", published.bfloat16)):
        path = tf.write(tmp_path, {name: bits(array) for name, array in tf.openai_names(WEIGHTS).items()})
        error = np.abs(read_tensorflow(path)["wte.weight"].load() - WEIGHTS["wte.weight"]).max()
        assert 0 < error < 0.02, kind


def test_what_an_optimizer_keeps_is_left_out(tmp_path):
    more = {"model/wte/Adam": WEIGHTS["wte.weight"], "model/h0/ln_1/g/Adam_1": WEIGHTS["ln_f.weight"],
            "beta1_power": np.float32(0.9), "global_step": np.int64(7)}
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS) | {name: np.asarray(value) for name, value in more.items()})
    assert read_tensorflow(path).keys() == WEIGHTS.keys()


def test_a_name_of_another_form_stays_and_is_refused_later(tmp_path):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS) | {"model/h0/attn/gate": WEIGHTS["ln_f.bias"]})
    assert read_tensorflow(path).keys() - WEIGHTS.keys() == {"model/h0/attn/gate"}


def test_a_checkpoint_of_another_model(tmp_path):
    assert "of another model, without model/wte" in refusal(tf.write(tmp_path, {"dense/kernel": WEIGHTS["wte.weight"]}))


# -- the folder


def test_the_file_checkpoint_decides_between_several(tmp_path):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS))
    (tmp_path / "model-7.index").write_bytes(path.read_bytes())
    assert checkpoint_index(tmp_path) == path
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/home/me/run/model-7"\n')
    assert checkpoint_index(tmp_path) == tmp_path / "model-7.index"
    (tmp_path / "checkpoint").unlink()
    assert checkpoint_index(tmp_path) is None
    path.unlink()
    assert checkpoint_index(tmp_path) == tmp_path / "model-7.index"


@pytest.mark.parametrize("name", ["other.ckpt", "../../secret"])
def test_a_checkpoint_that_is_not_there(tmp_path, name):
    tf.write(tmp_path, tf.openai_names(WEIGHTS))
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    with pytest.raises(CheckpointError, match="is not there; fetch all files of the model"):
        checkpoint_index(tmp_path)


def test_missing_and_truncated_data(tmp_path):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS))
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-4])
    assert "is said to end at byte" in refusal(path)
    data.unlink()
    assert "model.ckpt.data-00000-of-00001 is missing" in refusal(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert not is_index(path)


def test_each_flipped_bit_of_the_data_is_noticed(tmp_path):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS))
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    content = data.read_bytes()
    for at in range(3, len(content), 499):
        data.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1:])
        assert "is damaged (wrong checksum)" in refusal(path)


# -- what an index may claim


def with_entry(tmp_path, entry, header=None):
    """A checkpoint whose tensor model/wte has this entry."""
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS))
    path.write_bytes(tf.table({b"": tf.field(1, 1) if header is None else header, b"model/wte": entry}))
    return path


def shape(*sizes):
    return tf.field(2, b"".join(tf.field(2, tf.field(1, size)) for size in sizes))


@pytest.mark.parametrize(("entry", "what"), [
    (tf.field(1, 1) + shape(2**62, 2**62) + tf.field(5, 8), "does not take the 8 bytes"),
    (tf.field(1, 1) + shape(11, 6) + tf.field(4, 2**60) + tf.field(5, 264), "there is no such byte"),
    (tf.field(1, 1) + shape(11, 6) + tf.field(3, 9) + tf.field(5, 264), "of file 9, and there is no such byte"),
    (tf.field(1, 1) + shape(*[1] * 9) + tf.field(5, 4), "has no shape of at most 8 axes"),
    (tf.field(1, 1) + tf.field(2, tf.field(3, 1)) + tf.field(5, 4), "has no shape of at most 8 axes"),
    (tf.field(1, 1) + shape(11, 6) + tf.field(5, 264) + tf.field(7, b""), "is kept in slices; save it as a whole"),
    (tf.field(1, 1) + shape(11, 6) + tf.field(5, 264), "is damaged (wrong checksum)"),
    (b"\x0a\x09", "one of its messages is damaged"), (b"\x0b", "one of its messages is damaged"), (b"\x80", "no end"),
])
def test_claims_of_an_entry(tmp_path, entry, what):
    assert what in refusal(with_entry(tmp_path, entry))


@pytest.mark.parametrize("header", [b"", tf.field(1, 2**40), tf.field(1, 1) + tf.field(2, 1)])
def test_claims_of_the_header(tmp_path, header):
    assert "expected 1 to 1,000, little-endian" in refusal(with_entry(tmp_path, b"", header))


def test_names_that_are_none(tmp_path):
    path = tf.write(tmp_path, tf.openai_names(WEIGHTS))
    path.write_bytes(tf.table({b"": tf.field(1, 1), b"model/\x1b[2J": b""}))
    assert "not a name in at most 256 printable characters" in refusal(path)


def test_an_index_that_is_too_large(tmp_path):
    path = tmp_path / "model.ckpt.index"
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    assert "larger than 16777216 bytes" in refusal(path)
