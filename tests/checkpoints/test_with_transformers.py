"""Both directions against `transformers`, on freshly initialised models of odd sizes in every form of the files."""

import json

import numpy as np
import published
import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.generate import GenerateConfig, generate
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.text import Tokenizer

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")

SIZES = [{"vocab_size": 37, "n_positions": 13, "n_embd": 21, "n_layer": 3, "n_head": 7},
         {"vocab_size": 3, "n_positions": 2, "n_embd": 5, "n_layer": 1, "n_head": 1},
         {"vocab_size": 101, "n_positions": 19, "n_embd": 24, "n_layer": 2, "n_head": 2, "layer_norm_epsilon": 1e-3}]
BOUND = 2e-6  # float32 logits of size 1


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def fresh(sizes, **settings):
    """A GPT2LMHeadModel whose biases and norms are random, too."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        **sizes, bos_token_id=0, eos_token_id=0, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def ids_of(sizes):
    return np.random.default_rng(1).integers(0, sizes["vocab_size"], (3, sizes["n_positions"]))


def assert_same_logits(ours, theirs, ids, bound=BOUND):
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits.float().numpy()
    np.testing.assert_allclose(ours(ids).numpy(), expected, rtol=0, atol=bound)


def plain(theirs):
    """Weights by name without prefix, as NumPy arrays."""
    return {name.removeprefix("transformer."): value.detach().numpy() for name, value in theirs.state_dict().items()
            if name != "lm_head.weight"}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("tied", [True, False])
def test_in(sizes, tied, tmp_path):
    theirs = fresh(sizes, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    ours = GPT2.from_pretrained(tmp_path)
    assert (ours.lm_head is None) == tied
    assert_same_logits(ours, theirs, ids_of(sizes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(dtype, tmp_path):
    theirs = fresh(SIZES[0]).to(dtype)
    theirs.save_pretrained(tmp_path)
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs.float(), ids_of(SIZES[0]))


def test_in_several_files(tmp_path):
    theirs = fresh(SIZES[0])
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(SIZES[0]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("key", [None, "model_state_dict"])
def test_in_from_a_state_dict(tied, key, tmp_path):
    theirs = fresh(SIZES[0], tie_word_embeddings=tied)
    theirs.config.save_pretrained(tmp_path)
    state = theirs.state_dict()
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "pytorch_model.bin")
    ours = GPT2.from_pretrained(tmp_path)
    assert ours.config.tied_head == tied
    assert_same_logits(ours, theirs, ids_of(SIZES[0]))


def test_in_without_a_head_and_its_prefix(tmp_path):
    theirs = fresh(SIZES[0])
    theirs.transformer.save_pretrained(tmp_path)
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(SIZES[0]))


def test_in_from_tensorflows_file(tmp_path):
    theirs = fresh(SIZES[0])
    theirs.config.save_pretrained(tmp_path)
    published.keras_file(tmp_path / "tf_model.h5", plain(theirs))
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(SIZES[0]))


def test_in_with_the_general_names_of_sizes(tmp_path):
    sizes = {"vocab_size": 31, "n_positions": 9, "n_embd": 768, "n_layer": 1, "n_head": 8}
    fresh(sizes, activation_function="gelu_pytorch_tanh").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for alias, name in transformers.GPT2Config.attribute_map.items():
        config[alias] = config.pop(name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(sizes), bound=2e-5)


def test_in_without_a_config(tmp_path):
    sizes = {"vocab_size": 5, "n_positions": 3, "n_embd": 768, "n_layer": 1, "n_head": 12}
    theirs = fresh(sizes)
    published.safetensors_file(tmp_path / "weights", plain(theirs), align=None)
    assert_same_logits(GPT2.from_pretrained(tmp_path / "weights"), theirs, ids_of(sizes), bound=2e-5)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied_head", [True, False])
def test_out(sizes, qkv_bias, tied_head, tmp_path):
    sizes = {("n_ctx" if name == "n_positions" else name): size for name, size in sizes.items()}
    ours = GPT2(GPT2Config(**sizes, qkv_bias=qkv_bias, tied_head=tied_head)).eval()
    random = np.random.default_rng(0)
    for parameter in ours.parameters():
        parameter.data[...] += random.normal(size=parameter.shape, scale=0.1)
    ours.save_pretrained(tmp_path)
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())  # nothing missing, unexpected or misshapen
    ids = random.integers(0, sizes["vocab_size"], (2, sizes["n_ctx"]))
    assert_same_logits(ours, theirs.eval(), ids)
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] == tied_head
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids)


def test_the_end_of_text_is_theirs(tmp_path):
    GPT2(GPT2Config(11, 7, 6, 1, 2)).save_pretrained(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.eos_token_id, config.n_positions) == ("gpt2", 10, 7)


def test_prompts_with_special_tokens_are_continued_as_there(tmp_path):
    """A chat model as transformers saves it: tokenizer.json alone, two added tokens, one of which ends a text."""
    Tokenizer.train(["she said that the garden is old", "he laughed and put the cup away"] * 3, 280).save_pretrained(
        tmp_path / "old")
    tokenizer = transformers.GPT2TokenizerFast.from_pretrained(tmp_path / "old")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|bot|>"]})
    theirs = fresh({"vocab_size": len(tokenizer), "n_positions": 48, "n_embd": 24, "n_layer": 2, "n_head": 2})
    folder = tmp_path / "new"
    tokenizer.save_pretrained(folder)
    prompts = ["<|user|>hi<|bot|>", "hi<|endoftext|>you", "the garden"]
    free = {prompt: answer(theirs, tokenizer, prompt, None) for prompt in prompts}
    stop = free[prompts[0]][4]
    theirs.generation_config.eos_token_id = theirs.config.eos_token_id = [stop, tokenizer.eos_token_id]
    theirs.save_pretrained(folder)
    saved = load_model(folder)
    config = GenerateConfig(temperature=0, max_new_tokens=20, allow_special=True)
    for prompt, completion in zip(prompts, generate(saved, prompts, config), strict=True):
        assert list(completion.ids) == answer(theirs, tokenizer, prompt, theirs.generation_config.eos_token_id), prompt
    assert generate(saved, prompts[:1], config)[0].stopped_by == "end of text"


def answer(theirs, tokenizer, prompt, eos_token_id):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    settings = transformers.GenerationConfig(do_sample=False, max_new_tokens=20, eos_token_id=eos_token_id,
                                             pad_token_id=0)
    return theirs.generate(ids, settings, attention_mask=torch.ones_like(ids))[0, ids.shape[1]:].tolist()


@pytest.mark.parametrize("pad_id", ["eot", 0, None])
def test_a_published_classifier_scores_as_there(pad_id, tmp_path):
    """Texts of different length, padded, one of which ends in tokens like the padding."""
    vocabulary = Tokenizer.train(["the garden is old and green!!", "he put the cup away!"] * 3, 280)
    vocabulary.save_pretrained(tmp_path)
    pad_id = vocabulary.eot_id if pad_id == "eot" else pad_id
    labels = {0: "bad", 1: "fair", 2: "good"}
    torch.manual_seed(0)
    theirs = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(
        vocab_size=vocabulary.vocab_size, n_positions=32, n_embd=24, n_layer=2, n_head=2, pad_token_id=pad_id,
        eos_token_id=vocabulary.eot_id, id2label=labels, num_labels=3)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    theirs.save_pretrained(tmp_path)
    saved = load_model(tmp_path)
    assert saved.labels == ("bad", "fair", "good")
    texts = ["the garden", "he put the cup away", "old!!!", "!"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text, answer in zip(texts, classify(saved, texts), strict=True):
        width = max(len(tokenizer(other).input_ids) for other in texts) if pad_id is not None else 0
        ids = tokenizer(text).input_ids
        ids += [pad_id] * (width - len(ids))
        with torch.no_grad():
            expected = theirs(torch.tensor([ids])).logits.softmax(-1)[0]
        for i, label in labels.items():
            assert answer.probabilities[label] == pytest.approx(expected[i].item(), abs=1e-5)
    assert GPT2.from_pretrained(tmp_path).config.n_embd == 24  # as a base


def torch_layout(theirs):
    """The weights as nanoGPT keeps them: matrices of the blocks as (out, in)."""
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {name: value.T if name.endswith(turned) else value for name, value in plain(theirs).items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.transformer.", "module._orig_mod.model.", "model."])
def test_in_under_the_names_and_in_the_layout_of_other_programs(prefix, tmp_path):
    theirs = fresh(SIZES[0])
    theirs.config.save_pretrained(tmp_path)
    for weights in (plain(theirs), torch_layout(theirs)):
        named = {prefix + name: value for name, value in weights.items()}
        named[prefix.split("transformer.")[0] + "lm_head.weight"] = weights["wte.weight"]
        published.safetensors_file(tmp_path / "model.safetensors", named)
        assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(SIZES[0]))


def test_in_without_any_bias(tmp_path):
    theirs = fresh(SIZES[0])
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
    theirs.config.save_pretrained(tmp_path)
    published.safetensors_file(tmp_path / "model.safetensors", {
        name: value for name, value in torch_layout(theirs).items() if not name.endswith(".bias")})
    assert_same_logits(GPT2.from_pretrained(tmp_path), theirs, ids_of(SIZES[0]))


def test_a_model_of_another_vocabulary_is_used_by_ids(tmp_path, capsys):
    theirs = fresh({"vocab_size": 300, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 2})
    theirs.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"the": 0}')
    ids = torch.tensor([[5, 17, 99]])
    settings = transformers.GenerationConfig(do_sample=False, max_new_tokens=8, pad_token_id=0)
    expected = theirs.generate(ids, settings, attention_mask=torch.ones_like(ids))[0].tolist()
    assert main(["generate", "--ids", "5 17 99", "--model", str(tmp_path), "--temperature", "0",
                 "--max-new-tokens", "8"]) == 0
    assert capsys.readouterr() == (" ".join(map(str, expected)) + "\n", "")
    assert main(["generate", "--ids", "5 the", "--model", str(tmp_path)]) == 1
    assert main(["generate", "the", "--model", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [error[:40] for error in errors] == [
        "error: not an id 'the' (number 2): the m", "error: cannot read the vocabulary (" + str(tmp_path)[:5]]
    assert errors[1].endswith("or use the model by ids, with generate --ids")
