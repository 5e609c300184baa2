"""Vocabularies of published models: as transformers reads them, or refused with what is wrong."""

import json
import random
import shutil

import pytest

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text import END_OF_TEXT, Tokenizer, tokenizer_from_arrays
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.pretrained import has_vocabulary

TEXTS = ["the cat sat on the mat", " a\n\n漢字  99's", "<|user|>hi<|bot|> you", f"a{END_OF_TEXT} b", "<s>the</s> cat",
         "é", f"{END_OF_TEXT}", ""]


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def renumbered(small, first, last=()):
    """The tokens with special tokens before and behind them."""
    n = len(small.tokens)
    special = dict(zip(first, range(len(first)), strict=True))
    special |= dict(zip(last, range(n + len(first), n + len(first) + len(last)), strict=True))
    eot_id = next(iter(special.values()))
    return Tokenizer(small.tokens, Layout(tuple(range(len(first), n + len(first))), special, eot_id, (eot_id,)))


@pytest.fixture
def folder(small, tmp_path):
    """vocab.json and merges.txt of GPT-2's kind."""
    small.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def ids(folder):
    return json.loads((folder / "vocab.json").read_bytes())


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.from_pretrained(folder)
    message = str(caught.value)
    assert message.startswith(f"cannot read the vocabulary ({folder}")
    assert message.isprintable()
    return message


class TestPair:
    def test_there_and_back(self, folder, small):
        assert sorted(path.name for path in folder.iterdir()) == ["merges.txt", "vocab.json"]
        assert Tokenizer.from_pretrained(folder) == small

    def test_names_of_openai(self, folder, small, gpt2, shared_data):
        (folder / "vocab.json").rename(folder / "encoder.json")
        (folder / "merges.txt").rename(folder / "vocab.bpe")
        assert has_vocabulary(folder)
        assert Tokenizer.from_pretrained(folder) == small
        shutil.copy(shared_data / "gpt2" / "vocab.bpe", folder / "vocab.bpe")
        shutil.copy(shared_data / "gpt2" / "encoder.json", folder / "encoder.json")
        assert Tokenizer.from_pretrained(folder) == gpt2

    def test_no_files(self, folder):
        (folder / "vocab.json").unlink()
        assert has_vocabulary(folder)
        assert "vocab.json): no such file or directory" in refused(folder)
        (folder / "merges.txt").unlink()
        assert not has_vocabulary(folder)
        assert "merges.txt): no such file or directory" in refused(folder)

    def test_a_vocabulary_without_merges_can_be_used_by_ids(self, folder):
        (folder / "merges.txt").unlink()
        assert refused(folder).endswith("merges.txt): no such file or directory; put it beside vocab.json, or use the "
                                        "model by ids, with generate --ids")

    def test_ids_in_any_order(self, folder, ids, small):
        drawn = random.Random(0).sample(range(len(ids)), len(ids))
        write(folder / "vocab.json", dict(zip(ids, drawn, strict=True)))
        tokenizer = Tokenizer.from_pretrained(folder)
        for text in TEXTS:
            assert tokenizer.encode(text) == [drawn[i] for i in small.encode(text)]
            assert tokenizer.decode(tokenizer.encode(text, "all")) == text
        assert (tokenizer.eot_id, tokenizer.vocab_size) == (drawn[-1], small.vocab_size)

    @pytest.mark.parametrize(("change", "why"), [
        (lambda ids: {token: i for token, i in ids.items() if token != "a"}, "it lacks 1 tokens that GPT-2's way of"),
        (lambda ids: ids | {"zzz": len(ids)}, "no merge makes 1 of its tokens, the first is 'zzz'"),
        (lambda ids: ids | {"<x>": 0}, "two of its tokens have one id"), (lambda ids: {}, "it lacks 299 tokens"),
        (lambda ids: ids | {"<x>": len(ids) + 1}, "no token has id 300"),
        (lambda ids: list(ids), "it is not a map"), (lambda ids: None, "it is not a map"),
        (lambda ids: {"the": 0, "cat": 1, "[UNK]": 2}, "use the model by ids, with generate --ids"),
    ])
    def test_other_ids(self, folder, ids, change, why):
        write(folder / "vocab.json", change(ids))
        assert why in refused(folder)

    def test_merges_that_were_cut(self, folder):
        path = folder / "merges.txt"
        path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:-3]), encoding="utf-8")
        assert "no merge makes 2 of its tokens, the first is" in refused(folder)


class TestSpecialTokens:
    def test_first(self, folder, ids, small):
        first = {"<s>": 0, "<pad>": 1, "</s>": 2}
        write(folder / "vocab.json", first | {token: i + 3 for token, i in ids.items() if token != END_OF_TEXT})
        tokenizer = Tokenizer.from_pretrained(folder)
        assert tokenizer.special == first
        assert (tokenizer.eot_id, tokenizer.vocab_size) == (2, small.vocab_size + 2)
        assert tokenizer.encode("the cat") == [i + 3 for i in small.encode("the cat")]
        assert tokenizer.encode("<s>the cat", {"<s>"}) == [0, *(i + 3 for i in small.encode("the cat"))]
        assert tokenizer.decode([0, 2, 1]) == "<s></s><pad>"

    def test_added(self, folder, small):
        write(folder / "added_tokens.json", {"<|user|>": 300, "<|bot|>": 301})
        tokenizer = Tokenizer.from_pretrained(folder)
        assert tokenizer.special == {END_OF_TEXT: 299, "<|user|>": 300, "<|bot|>": 301}
        assert tokenizer.encode("<|user|>hi<|bot|>", "all") == [300, *small.encode("hi"), 301]
        assert tokenizer.encode("<|user|>hi<|bot|>", {"<|bot|>"}) == [*small.encode("<|user|>hi"), 301]
        assert tokenizer.encode("<|user|>hi<|bot|>") == small.encode("<|user|>hi<|bot|>")
        assert tokenizer.special_in(["<|user|>hi", "<|b|>", END_OF_TEXT]) == {"<|user|>", END_OF_TEXT}

    def test_in_tokenizer_config(self, folder):
        token = {"content": "[PAD]", "lstrip": False, "special": True}
        write(folder / "tokenizer_config.json", {"added_tokens_decoder": {"300": token}})
        assert Tokenizer.from_pretrained(folder).special == {END_OF_TEXT: 299, "[PAD]": 300}

    @pytest.mark.parametrize(("name", "content", "why"), [
        ("added_tokens.json", {END_OF_TEXT: 300}, "'<|endoftext|>' has id 300, but vocab.json says 299"),
        ("added_tokens.json", {"<x>": 301}, "no token has id 300"), ("added_tokens.json", [], "is not a JSON object"),
        ("added_tokens.json", {"<x>": "300"}, "it is not a map of tokens to ids"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "<x>"}}}, "an added token is not one"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: {"content": "<x>"}}}, "an added token is not"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"300": None}}, "an added token is not one"),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}, "added_tokens_decoder is not a map"),
        ("tokenizer_config.json", {"add_bos_token": True, "bos_token": "<s>"}, "texts begin with '<s>', which is no"),
        ("special_tokens_map.json", 7, "it is not a JSON object"),
    ])
    def test_what_is_refused(self, folder, name, content, why):
        write(folder / name, content)
        assert why in refused(folder)


class TestEnd:
    """The token that ends a text, and the ids at which generation stops."""

    @pytest.fixture
    def folder(self, folder):
        write(folder / "added_tokens.json", {"<|user|>": 300, "<|im_end|>": 301})
        return folder

    @pytest.mark.parametrize(("files", "eot_id", "end_ids"), [
        ({}, 299, {299}), ({"config": {"eos_token_id": 50256}}, 299, {299}),
        ({"config": {"eos_token_id": 0}}, 299, {0, 299}),
        ({"config": {"eos_token_id": 301}}, 301, {301}), ({"config": {"eos_token_id": None}}, 299, {299}),
        ({"config": {"eos_token_id": [299, 301]}}, 299, {299, 301}), ({"config": {"eos_token_id": "a"}}, 299, {299}),
        ({"config": {"eos_token_id": 299}, "generation_config": {"eos_token_id": 301}}, 301, {301}),
        ({"tokenizer_config": {"eos_token": "<|im_end|>"}}, 301, {301}),
        ({"tokenizer_config": {"eos_token": {"content": "<|im_end|>"}}}, 301, {301}),
        ({"tokenizer_config": {"eos_token": "<|im_end|>"}, "config": {"eos_token_id": 299}}, 301, {299, 301}),
        ({"special_tokens_map": {"eos_token": "<|im_end|>"}}, 301, {301}),
        ({"tokenizer_config": {"eos_token": "the"}}, 299, {299}), ({"tokenizer_config": {"eos_token": 7}}, 299, {299}),
    ])
    def test_whose_it_is(self, folder, files, eot_id, end_ids):
        for name, content in files.items():
            write(folder / f"{name}.json", content)
        tokenizer = Tokenizer.from_pretrained(folder)
        assert (tokenizer.eot_id, tokenizer.end_ids) == (eot_id, end_ids)

    def test_a_vocabulary_without_one_gets_one_behind_its_tokens(self, folder, ids):
        (folder / "added_tokens.json").unlink()
        del ids[END_OF_TEXT]
        write(folder / "vocab.json", ids)
        tokenizer = Tokenizer.from_pretrained(folder)
        assert (tokenizer.special, tokenizer.eot_id) == ({END_OF_TEXT: 299}, 299)

    def test_a_token_before_each_text(self, folder):
        write(folder / "tokenizer_config.json", {"add_bos_token": True, "bos_token": "<|user|>"})
        assert Tokenizer.from_pretrained(folder).layout.start_id == 300

    def test_several_ends_are_written(self, small, tmp_path):
        n = len(small.tokens)
        ours = Tokenizer(small.tokens, Layout(tuple(range(n)), {END_OF_TEXT: n, "<|im_end|>": n + 1}, n, (n, n + 1)))
        assert "generation_config.json" in ours.save_pretrained(tmp_path)
        assert Tokenizer.from_pretrained(tmp_path) == ours


class TestBoth:
    """tokenizer.json beside the pair of files."""

    @pytest.fixture
    def folder(self, small, tmp_path):
        renumbered(small, ["<s>", "</s>"], ["<|user|>"]).save_pretrained(tmp_path)
        return tmp_path

    def test_they_agree(self, folder, small):
        assert sorted(path.name for path in folder.iterdir()) == [
            "merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
        assert Tokenizer.from_pretrained(folder) == renumbered(small, ["<s>", "</s>"], ["<|user|>"])

    def test_one_of_the_pair_is_enough(self, folder):
        expected = Tokenizer.from_pretrained(folder)
        (folder / "merges.txt").unlink()
        assert Tokenizer.from_pretrained(folder) == expected
        (folder / "vocab.json").unlink()
        assert Tokenizer.from_pretrained(folder) == expected

    def test_added_tokens_may_be_missing_in_the_pair(self, folder):
        ids = json.loads((folder / "vocab.json").read_bytes())
        expected = Tokenizer.from_pretrained(folder)
        write(folder / "vocab.json", {token: i for token, i in ids.items() if token != "<|user|>"})
        assert Tokenizer.from_pretrained(folder) == expected

    def test_other_ids(self, folder):
        ids = json.loads((folder / "vocab.json").read_bytes())
        ids["a"], ids["b"] = ids["b"], ids["a"]
        write(folder / "vocab.json", ids)
        assert "vocab.json has other ids for 2 tokens, the first is 'a'; remove the wrong file" in refused(folder)

    def test_other_merges(self, folder):
        path = folder / "merges.txt"
        path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:-2]), encoding="utf-8")
        assert "merges.txt has other merges; remove the wrong file" in refused(folder)


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]


class TestRoberta:
    """RoBERTa's vocabulary: GPT-2's tokens in another order, and `<s>` and `</s>` around each text."""

    @pytest.fixture
    def folder(self, folder, ids):
        """vocab.json, merges.txt and config.json, as roberta-base was published first."""
        tokens = [*ROBERTA, *random.Random(0).sample(list(ids), len(ids)), "madeupword0000", "madeupword0001", "<mask>"]
        write(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
        write(folder / "config.json", {"model_type": "roberta", "eos_token_id": 2})
        return folder

    def test_roles(self, folder):
        tokenizer = Tokenizer.from_pretrained(folder)
        assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.layout.unk_id) == (0, 1, 2, 3)
        assert (tokenizer.mask_id, tokenizer.eot_id, tokenizer.vocab_size) == (306, 2, 307)
        ids = tokenizer.encode("the cat")
        assert tokenizer.encode_sequence("the cat") == [0, *ids, 2]
        assert tokenizer.encode_sequence("the cat", 3) == [0, ids[0], 2]
        assert tokenizer.encode("the<mask>", "all") == [*tokenizer.encode("the"), 306]
        assert 306 not in tokenizer.encode("the<mask>")

    def test_there_and_back(self, folder, tmp_path):
        tokenizer = Tokenizer.from_pretrained(folder)
        tokenizer.save_pretrained(tmp_path / "new")
        (tmp_path / "new" / "vocab.json").unlink()
        (tmp_path / "new" / "merges.txt").unlink()
        assert Tokenizer.from_pretrained(tmp_path / "new") == tokenizer
        assert tokenizer_from_arrays(tokenizer.to_arrays()) == tokenizer

    @pytest.mark.parametrize(("name", "content", "mask_strips"), [
        ("special_tokens_map.json", {"mask_token": {"content": "<mask>", "lstrip": True}}, True),
        ("tokenizer_config.json", {"mask_token": {"content": "<mask>", "lstrip": False}}, False),
        ("tokenizer_config.json", {"added_tokens_decoder": {"306": {"content": "<mask>", "lstrip": True}}}, True),
    ])
    def test_white_space_before_the_mask(self, folder, name, content, mask_strips):
        write(folder / name, content)
        assert Tokenizer.from_pretrained(folder).layout.lstrip == (("<mask>",) if mask_strips else ())

    def test_other_names(self, folder):
        write(folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizerFast", "mask_token": "<m>"})
        assert "it lacks '<m>'" in refused(folder)
        write(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
        assert Tokenizer.from_pretrained(folder).sep_id is None


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


class TestWithTransformers:
    def agree(self, ours, theirs):
        assert (len(theirs), theirs.eos_token_id) == (ours.vocab_size, ours.eot_id)
        draw = random.Random(0)
        letters = "the cat sat on mat's  \n\t(漢é9)\x00\x85"
        texts = ["".join(draw.choices(letters, k=draw.randrange(60))) for _ in range(300)] + TEXTS
        texts += [ours.decode(draw.choices(range(ours.vocab_size), k=20)) for _ in range(300)]
        for text in texts:
            start = [] if ours.layout.start_id is None else [ours.layout.start_id]
            assert theirs(text)["input_ids"] == start + ours.encode(text, allowed_special="all"), text
            assert theirs.decode(ours.encode(text, "all"), clean_up_tokenization_spaces=False) == ours.decode(
                ours.encode(text, "all")), text

    def test_what_we_write(self, transformers, small, tmp_path):
        n = len(small.tokens)
        layouts = [small.layout, renumbered(small, ["<s>", "</s>"], ["<|user|>"]).layout,
                   Layout(tuple(range(n)), {"<s>": n, "</s>": n + 1}, n + 1, (n + 1,), n, True),
                   Layout(tuple(range(n, 0, -1)), {END_OF_TEXT: 0}, 0, (0,))]
        for number, layout in enumerate(layouts):
            folder = tmp_path / str(number)
            ours = Tokenizer(small.tokens, layout)
            ours.save_pretrained(folder)
            assert Tokenizer.from_pretrained(folder) == ours
            self.agree(ours, transformers.GPT2TokenizerFast.from_pretrained(folder))

    @pytest.mark.parametrize("settings", [{}, {"add_prefix_space": True}, {"add_bos_token": True}])
    def test_what_transformers_writes(self, transformers, small, tmp_path, settings):
        small.save_pretrained(tmp_path / "old")
        theirs = transformers.GPT2TokenizerFast.from_pretrained(tmp_path / "old", **settings)
        theirs.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|bot|>"]})
        theirs.add_tokens(["covid", " you"])
        theirs.save_pretrained(tmp_path / "new")
        assert {path.name for path in (tmp_path / "new").iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
        ours = Tokenizer.from_pretrained(tmp_path / "new")
        assert ours.special == {END_OF_TEXT: 299, "<|user|>": 300, "<|bot|>": 301, "covid": 302, " you": 303}
        self.agree(ours, theirs)

    def test_a_vocabulary_that_its_trainer_made(self, transformers, small, tmp_path):
        small.save_pretrained(tmp_path / "old")
        theirs = transformers.GPT2TokenizerFast.from_pretrained(tmp_path / "old").train_new_from_iterator(
            ["the gate is green and the garden is old", "he laughed and put the cup away"] * 20, 280)
        theirs.save_pretrained(tmp_path / "new")
        ours = Tokenizer.from_pretrained(tmp_path / "new")
        assert ours.eot_id == 0
        assert ours.encode("the garden") == theirs("the garden")["input_ids"]
        self.agree(ours, theirs)

    @pytest.mark.parametrize("settings", [{}, {"add_prefix_space": True}, {"lstrip": True}])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_roberta(self, transformers, tmp_path, seed, settings):
        draw = random.Random(seed)
        words = ["".join(draw.choices("abcdeé漢", k=draw.randrange(1, 6))) for _ in range(40)]
        tokens = Tokenizer.train([" ".join(draw.choices(words, k=500))], 320 + 40 * seed)
        tokens.save_pretrained(tmp_path)
        ids = json.loads((tmp_path / "vocab.json").read_bytes())
        del ids[END_OF_TEXT]
        order = [*ROBERTA, *draw.sample(list(ids), len(ids)), "<mask>"]
        write(tmp_path / "vocab.json", {token: i for i, token in enumerate(order)})
        write(tmp_path / "config.json", {"model_type": "roberta"})
        mask = transformers.AddedToken("<mask>", lstrip="lstrip" in settings, special=True)
        theirs = transformers.RobertaTokenizer.from_pretrained(tmp_path, mask_token=mask,
                                                               add_prefix_space="add_prefix_space" in settings)
        theirs.save_pretrained(tmp_path / "new")
        ours = Tokenizer.from_pretrained(tmp_path / "new")
        if not settings:
            assert Tokenizer.from_pretrained(tmp_path) == ours
        ours.save_pretrained(tmp_path / "ours")
        again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
        texts = ["".join(draw.choices([*words, " ", "  ", "\n", "<mask>", "</s>", "<s>", "it's", "9", "\x1c"],
                                      k=draw.randrange(12))) for _ in range(300)] + TEXTS
        for text in texts:
            expected = theirs(text)["input_ids"]
            assert ours.encode_sequence(text, allowed_special="all") == expected, text
            assert again(text)["input_ids"] == expected, text
            assert theirs(text, truncation=True, max_length=7)["input_ids"] == ours.encode_sequence(text, 7, "all")
        assert (theirs.pad_token_id, theirs.mask_token_id, len(theirs)) == (ours.pad_id, ours.mask_id, ours.vocab_size)

    def test_a_vocabulary_of_another_kind(self, transformers, tmp_path):
        from tokenizers import Tokenizer as Theirs
        from tokenizers.models import WordLevel

        Theirs(WordLevel({"the": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
        assert "model.type is 'WordLevel', and only 'BPE' is read" in refused(tmp_path)


