"""A published GPT-2 goes in whatever its files are, and out as `transformers` reads it; all else is refused."""

import json
import os
import tracemalloc

import h5py
import numpy as np
import published
import pytest
import state_dicts
import tensorflow_checkpoint
from faults import flip_what_is_written
from refusals import refusal_of
from safetensors.numpy import load_file
from soak import times

from tinygrad_gpt.checkpoints import gpt2_files
from tinygrad_gpt.checkpoints.gpt2_files import read_gpt2, weights_file, write_gpt2
from tinygrad_gpt.errors import CheckpointError, TinygradError

MUTANTS = times(2000, 200_000)
CONFIG = {"vocab_size": 11, "n_ctx": 7, "n_embd": 6, "n_layer": 2, "n_head": 3, "layer_norm_epsilon": 1e-5,
          "qkv_bias": True, "tied_head": True}


@pytest.fixture
def folder(tmp_path):
    published.config_file(tmp_path, n_head=3)
    return tmp_path


def refusal(path):
    """The message `read_gpt2` refuses with: one line that names a file and says what to do."""
    message = refusal_of(read_gpt2, path)
    assert message.startswith("cannot load (")
    return message


def assert_read(path, expected, config=CONFIG):
    found, tensors = read_gpt2(path)
    assert found == config
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)
        tensors[name][...] = 0  # what is mapped is a copy to its owner


# -- every form of the files


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("buffers", [False, True])
def test_names_with_and_without_prefix_and_buffers(folder, prefix, buffers):
    weights = published.weights()
    masks = {f"{prefix}h.{i}.attn.{name}": np.zeros(shape, dtype) for i in range(2) for name, shape, dtype in (
        ("bias", (1, 1, 7, 7), np.uint8), ("masked_bias", (), np.float32))} if buffers else {}
    path = published.safetensors_file(folder / "model.safetensors",
                                      masks | {prefix + name: array for name, array in weights.items()})
    before = path.read_bytes()
    assert_read(folder, weights)
    assert_read(path, weights)
    assert path.read_bytes() == before


@pytest.mark.parametrize("align", [8, None])
def test_float32_is_mapped_where_it_is_aligned(folder, align):
    weights = published.weights()
    header, data = published.header_of(weights)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + (0 if align else 1))
    (folder / "model.safetensors").write_bytes(published.packed(text, data, None))
    _, tensors = read_gpt2(folder)
    for name, array in tensors.items():
        assert array.flags.aligned
        assert array.flags.writeable
        assert type(array) is np.ndarray
        assert isinstance(array.base, np.memmap) == (align is not None), name
        np.testing.assert_array_equal(array, weights[name])


def test_half_precision_becomes_float32(folder):
    weights = published.weights()
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    published.safetensors_file(folder / "model.safetensors", half)
    assert_read(folder, {name: array.astype(np.float32) for name, array in half.items()})
    brain = {name: published.bfloat16(array) for name, array in weights.items()}
    published.safetensors_file(folder / "model.safetensors", brain)
    assert_read(folder, {name: (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
                         for name, array in weights.items()})


def test_several_files(folder):
    weights = published.weights()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, part in shards.items():
        published.safetensors_file(folder / file, {f"transformer.{name}": weights[name] for name in part})
    index = {"metadata": {"total_size": 1}, "weight_map": {
        f"transformer.{name}": file for file, part in shards.items() for name in part}}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert_read(folder, weights)
    assert_read(path, weights)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is missing" in refusal(folder)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tf_model_h5(folder, dtype):
    weights = {name: array.astype(dtype) for name, array in published.weights().items()}
    path = published.keras_file(folder / "tf_model.h5", weights)
    before = path.read_bytes()
    assert_read(folder, weights)
    assert_read(path, weights)
    assert path.read_bytes() == before
    if dtype is np.float32:
        assert isinstance(read_gpt2(path)[1]["wte.weight"].base, np.memmap)


def test_of_several_forms_safetensors_comes_first(folder):
    for name in ("tf_model.h5", "model.safetensors.index.json", "model.safetensors"):
        (folder / name).touch()
        assert weights_file(folder) == folder / name


@pytest.mark.parametrize(("content", "same", "tied"), [
    ({}, False, False), ({}, True, True), ({"tie_word_embeddings": False}, False, False),
    ({"tie_word_embeddings": False}, True, False), ({"tie_word_embeddings": True}, True, True)])
def test_heads(folder, content, same, tied):
    weights = published.weights()
    head = weights["wte.weight"] if same else weights["wte.weight"] + 1
    published.config_file(folder, n_head=3, **content)
    published.safetensors_file(folder / "model.safetensors", weights | {"lm_head.weight": head})
    assert_read(folder, weights if tied else weights | {"lm_head.weight": head.T}, {**CONFIG, "tied_head": tied})


def test_a_head_that_the_config_denies(folder):
    weights = published.weights()
    published.safetensors_file(folder / "model.safetensors", weights | {"lm_head.weight": weights["wte.weight"] + 1})
    published.config_file(folder, n_head=3, tie_word_embeddings=True)
    assert "tie_word_embeddings is true, but lm_head.weight differs" in refusal(folder)


def test_a_head_that_the_config_promises(folder):
    published.safetensors_file(folder / "model.safetensors", published.weights())
    published.config_file(folder, n_head=3, tie_word_embeddings=False)
    assert "missing lm_head.weight (11, 6)" in refusal(folder)


def test_without_query_key_value_biases(folder):
    weights = {name: array for name, array in published.weights().items() if not name.endswith("c_attn.bias")}
    published.safetensors_file(folder / "model.safetensors", weights)
    assert_read(folder, weights, {**CONFIG, "qkv_bias": False})


# -- the config


def test_without_config_json_gpt2s_widths_tell_the_heads(tmp_path):
    weights = published.weights(vocab_size=5, n_ctx=3, width=768, n_layer=1)
    published.safetensors_file(tmp_path / "model.safetensors", weights)
    config, _ = read_gpt2(tmp_path)
    assert config == {"vocab_size": 5, "n_ctx": 3, "n_embd": 768, "n_layer": 1, "n_head": 12,
                      "layer_norm_epsilon": 1e-5, "qkv_bias": True, "tied_head": True}


def test_without_config_json_other_widths_do_not(tmp_path):
    published.safetensors_file(tmp_path / "model.safetensors", published.weights())
    assert "n_head: no config.json says it, and the width 6 does not tell it" in refusal(tmp_path)


# -- all problems in one line


def without_bias(weights):
    del weights["h.1.ln_2.bias"]


def with_a_head(weights):
    weights["head.weight"] = np.zeros((2, 6), np.float32)


def with_a_transposed_matrix(weights):
    weights["h.0.mlp.c_fc.weight"] = weights["h.0.mlp.c_fc.weight"].T


def with_a_float64_bias(weights):
    weights["ln_f.bias"] = weights["ln_f.bias"].astype(np.float64)


@pytest.mark.parametrize(("changes", "text"), [
    ([without_bias, with_a_head], "2 of the tensors do not fit: missing h.1.ln_2.bias (6,); unexpected head.weight "
                                  "(2, 6)"),
    ([with_a_transposed_matrix, without_bias, with_a_head],
     "3 of the tensors do not fit: h.0.mlp.c_fc.weight is (24, 6), transposed, expected (6, 24) and 2 more"),
    ([with_a_float64_bias], "1 of the tensors do not fit: ln_f.bias is F64, expected F32, F16 or BF16"),
])
def test_the_problems_are_counted_and_listed(folder, changes, text):
    weights = published.weights()
    for change in changes:
        change(weights)
    published.safetensors_file(folder / "model.safetensors", weights)
    assert refusal(folder) == (f"cannot load ({folder / 'model.safetensors'}): {text}; does config.json belong to "
                               "these weights?")


def test_a_prefix_on_a_second_copy_of_a_name(folder):
    weights = published.weights()
    weights["transformer.wte.weight"] = weights["wte.weight"]
    published.safetensors_file(folder / "model.safetensors", weights)
    assert "both with and without the prefix" in refusal(folder)


# -- files of other kinds


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "gpt2.npz"])
def test_pickles_and_archives_that_torch_save_does_not_write(folder, name):
    np.savez(folder / "arrays.npz", a=np.zeros(3))
    (folder / "arrays.npz").rename(folder / name)
    assert "it is a zip archive without data.pkl, not a file of torch.save" in refusal(folder / name)
    (folder / name).write_bytes(b"\x80\x02}q\x00.")
    assert "save the weights as .safetensors" in refusal(folder / name)
    (folder / name).write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    assert "it is in PyTorch's format from before version 1.6; load it with torch.load and save it" in refusal(
        folder / name)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "gpt2.pth"])
def test_a_state_dict_is_found_in_its_folder(folder, name):
    weights = published.weights()
    state_dicts.state_dict_file(folder / name, {f"transformer.{name}": array for name, array in weights.items()})
    assert_read(folder, weights)
    assert_read(folder / name, weights)


def test_of_several_state_dicts_one_must_be_named(folder):
    for name in ("b.pth", "a.pth"):
        state_dicts.state_dict_file(folder / name, published.weights())
    assert "it holds 2 files of weights, the first is 'a.pth'; give the path of one" in refusal(folder)


def test_openais_folder(tmp_path):
    weights = published.weights()
    folder = tensorflow_checkpoint.openai_folder(tmp_path / "124M", weights, n_head=3)
    for path in (folder, folder / "model.ckpt", folder / "model.ckpt.index"):
        assert_read(path, weights)
    (folder / "hparams.json").unlink()
    assert "n_head: no config.json says it, and the width 6 does not tell it" in refusal(folder)


def test_a_head_that_shares_its_storage_with_the_embedding(folder):
    weights = published.weights()
    place = state_dicts.tensor(state_dicts.storage("FloatStorage", "0", 66), 0, (11, 6), (6, 1))
    names = sorted(weights.keys() - {"wte.weight"})
    others = {name: state_dicts.tensor(state_dicts.storage("FloatStorage", f"{i + 1}", weights[name].size), 0,
                                       weights[name].shape, state_dicts.c_strides(weights[name].shape))
              for i, name in enumerate(names)}
    pickle = state_dicts.mapping({"wte.weight": place, "lm_head.weight": place, **others})
    state_dicts.archive(folder / "model.pth", state_dicts.START + pickle + state_dicts.STOP,
                        [weights["wte.weight"], *(weights[name] for name in names)])
    assert_read(folder, weights)


@pytest.mark.parametrize(("data", "what"), [
    (b"", "the file is empty"), (b"hello", "not an HDF5 file, nor safetensors"), (b"GGUF\x03", "GGUF"),
    (b"{}", "no weight_map"), (b"{", "JSON cannot be read"), (b"\x89HDF\r\n\x1a\n" + b"\0" * 5000, "damaged"),
    (b"version https://git-lfs.github.com/spec/v1", "git lfs pull")])
def test_other_files(folder, data, what):
    path = folder / "model.safetensors"
    path.write_bytes(data)
    assert what in refusal(path)


def test_what_is_no_model(tmp_path):
    assert "it holds no model" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "absent")
    os.mkfifo(tmp_path / "model.safetensors")
    assert "not a regular file" in refusal(tmp_path)


def test_a_model_of_another_family(folder):
    weights = {"model.embed_tokens.weight": np.zeros((3, 2), np.float32)}
    published.safetensors_file(folder / "model.safetensors", weights)
    assert "it has no matrix wte.weight, which tells vocab_size; its first tensors are ['embed_tok" in refusal(folder)


# -- small files that claim much


def claims(folder, **config):
    published.safetensors_file(folder / "model.safetensors", published.weights())
    published.config_file(folder, **{"n_head": 3, **config})


@pytest.mark.parametrize(("config", "what"), [
    ({"n_layer": 10**9}, "n_layer is 1000000000, but the file has 28 tensors"),
    ({"vocab_size": 10**9}, "wte.weight is (11, 6), expected (1000000000, 6)"),
    ({"n_embd": 3 * 10**8}, "expected (900000000,)"),
    ({"n_positions": 2**31}, "n_positions is 2147483648, not a whole number")])
def test_claims_cost_nothing(folder, config, what):
    claims(folder, **config)
    tracemalloc.start()
    try:
        assert what in refusal(folder)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


# -- mutants: only our own error comes out


def originals(folder):
    """The bytes of small valid files of every form, by name."""
    weights = published.weights(vocab_size=5, n_ctx=3, width=2, n_layer=1)
    published.config_file(folder, n_head=1, tie_word_embeddings=True)
    published.safetensors_file(folder / "model.safetensors", weights)
    published.keras_file(folder / "tf_model.h5", weights)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(weights, "model.safetensors")}))
    state_dicts.state_dict_file(folder / "model.pth", state_dicts.book_names(weights))
    tensorflow_checkpoint.openai_folder(folder, weights, n_head=1)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mutated(data, random):
    """`data` with bits flipped, cut, repeated, or numbers and words put in."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(data) + 1))
        match random.integers(5):
            case 0 if at < len(data):
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                del data[at:at + int(random.integers(1, 40))]
            case 2:
                data[at:at] = data[at:at + int(random.integers(1, 40))]
            case 3:
                values = (b"\xff" * 8, b"\0" * 8, b"null", b"[]", b"{}", b"-1", b"1e9", b'"', b"9" * 30, b"NaN", b"\n")
                value = values[int(random.integers(len(values)))]
                data[at:at + len(value)] = value
            case _:
                at //= 1 + 3 * int(random.integers(2))  # mostly where headers are
                data[at:at + 1] = bytes([int(random.integers(256))])
    return bytes(data)


def test_of_mutated_files_only_our_own_error_escapes(tmp_path):
    files, random, refusals = originals(tmp_path), np.random.default_rng(0), []
    targets = {"model.safetensors": "model.safetensors", "tf_model.h5": "tf_model.h5",
               "model.safetensors.index.json": "model.safetensors.index.json", "config.json": "model.safetensors",
               "model.pth": "model.pth", "model.ckpt.index": "model.ckpt.index",
               "model.ckpt.data-00000-of-00001": "model.ckpt.index"}
    names = sorted(targets)
    for i in range(MUTANTS):
        name = names[i % len(names)]
        (tmp_path / name).write_bytes(mutated(files[name], random))
        try:
            config, tensors = read_gpt2(tmp_path / targets[name])
        except CheckpointError as error:
            refusals.append(str(error))
        else:
            assert all(np.isfinite(array).all() for array in tensors.values()), i
            assert config["n_embd"] == 2
        (tmp_path / name).write_bytes(files[name])
    assert len(refusals) > 0.4 * MUTANTS
    assert [text for text in refusals if not text.startswith("cannot load (") or not text.isprintable()] == []


# -- out


def test_what_is_written_is_read_again(tmp_path):
    for qkv_bias, tied_head in ((True, True), (False, True), (True, False), (False, False)):
        config = {**CONFIG, "qkv_bias": qkv_bias, "tied_head": tied_head, "dropout": 0.1}
        weights = {name: array for name, array in published.weights().items() if qkv_bias or "c_attn.bias" not in name}
        if not tied_head:
            weights["lm_head.weight"] = np.random.default_rng(1).normal(size=(6, 11)).astype(np.float32)
        write_gpt2(tmp_path / "out", config, weights)
        found, tensors = read_gpt2(tmp_path / "out")
        assert found == {**CONFIG, "tied_head": tied_head}
        for name in tensors.keys() | weights.keys():
            expected = weights.get(name, np.zeros(18))
            np.testing.assert_array_equal(tensors[name], expected, err_msg=name)


def test_layouts_other_than_c_order_are_written_right(tmp_path):
    weights = published.weights()
    strange = {name: np.asfortranarray(array) if array.ndim == 2 else array[::-1][::-1]
               for name, array in weights.items()}
    square = strange["h.0.attn.c_proj.weight"] = weights["h.0.attn.c_proj.weight"].T
    write_gpt2(tmp_path, {**CONFIG, "dropout": 0.0}, strange)
    written = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(written["transformer.h.0.attn.c_proj.weight"], square)
    for name in weights.keys() - {"h.0.attn.c_proj.weight"}:
        np.testing.assert_array_equal(written[f"transformer.{name}"], weights[name])


def test_half_precision_stays_half(tmp_path):
    weights = {name: array.astype(np.float16) for name, array in published.weights().items()}
    write_gpt2(tmp_path, {**CONFIG, "dropout": 0.0}, weights)
    assert {array.dtype.name for array in load_file(tmp_path / "model.safetensors").values()} == {"float16"}
    assert_read(tmp_path, weights)


def test_the_config_names_the_end_of_text(tmp_path):
    write_gpt2(tmp_path, {**CONFIG, "dropout": 0.25}, published.weights(), eot_id=9)
    content = json.loads((tmp_path / "config.json").read_text())
    assert (content["eos_token_id"], content["bos_token_id"]) == (9, 9)
    assert (content["attn_pdrop"], content["embd_pdrop"], content["resid_pdrop"]) == (0.25, 0.25, 0.25)
    assert (content["n_positions"], content["model_type"]) == (7, "gpt2")


def test_weights_of_another_config_are_not_written(tmp_path):
    with pytest.raises(CheckpointError, match="the weights are not those of the config"):
        write_gpt2(tmp_path / "out", {**CONFIG, "n_ctx": 8, "dropout": 0.0}, published.weights())
    assert not (tmp_path / "out").exists()


def test_a_disk_that_changes_a_bit_is_noticed(tmp_path, monkeypatch):
    flip_what_is_written(monkeypatch)
    with pytest.raises(TinygradError, match="the disk gives back other bytes"):
        write_gpt2(tmp_path, {**CONFIG, "dropout": 0.0}, published.weights())
    assert os.listdir(tmp_path) == []


def test_a_truncation_while_it_is_read_is_refused(folder, monkeypatch):
    path = published.safetensors_file(folder / "model.safetensors", {
        name: array.astype(np.float16) for name, array in published.weights().items()})
    check = gpt2_files.shapes_of

    def cut(config):
        os.truncate(path, path.stat().st_size - 100)
        return check(config)

    monkeypatch.setattr(gpt2_files, "shapes_of", cut)
    assert "it ends too early" in refusal(folder)


def test_hdf5_of_this_package_is_no_tf_model(folder):
    with h5py.File(folder / "tf_model.h5", "w") as file:
        file["manifest"] = np.zeros(3)
    assert "HDF5 file of another program" in refusal(folder)
