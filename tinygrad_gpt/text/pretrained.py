"""The vocabulary in the folder of a published GPT-2 or RoBERTa: byte-level byte-pair encoding, as Hugging Face has it.

    tokenizer.json             all of it, as transformers 5 writes it; or, as GPT-2 was published,
    vocab.json, merges.txt     the ids and the merges (encoder.json and vocab.bpe in OpenAI's names), and
    added_tokens.json          the tokens that were added to them
    tokenizer_config.json, special_tokens_map.json, config.json, generation_config.json
                               the tokens that begin and end a text

Source: https://github.com/openai/gpt-2, `encoder.py`; https://huggingface.co/docs/tokenizers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygrad_gpt.text.layout import END_OF_TEXT, Layout
from tinygrad_gpt.text.merges import parsed, shipped, to_text, tokens_of
from tinygrad_gpt.text.tokenizer_json import (
    BY_IDS,
    Contents,
    added,
    checked_ids,
    ids_of,
    read_tokenizer_json,
    stripping,
    to_tokenizer_json,
)
from tinygrad_gpt.text.vocabulary import from_printable, parse_json, printable, read_bytes, refusal

__all__ = [
    "added_in", "content_of", "has_vocabulary", "ids_that_end", "is_shipped", "read_pretrained", "settings", "to_files",
]

# The names OpenAI and Hugging Face gave the same two files.
# RoBERTa's special tokens by what they are for.
ROBERTA = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>", "unk_token": "<unk>"}
MERGES, IDS = ("vocab.bpe", "merges.txt"), ("encoder.json", "vocab.json")


def is_shipped(name: str | Path) -> bool:
    """Whether a name means GPT-2's own vocabulary: `gpt2`, where no file or folder has that name."""
    return str(name) == "gpt2" and not Path(name).exists()


def has_vocabulary(folder: str | Path) -> bool:
    """Whether a folder has one of the files that hold a vocabulary: those of `read_pretrained`, or BERT's vocab.txt."""
    folder = Path(folder)
    return any(path.exists() for path in (folder / "tokenizer.json", folder / "vocab.txt", *_pair(folder)))


def read_pretrained(folder: str | Path) -> tuple[list[bytes], Layout]:
    """Read the vocabulary of a published model.

    Args:
        folder: holds `tokenizer.json`, or `vocab.json` and `merges.txt`, or `encoder.json` and `vocab.bpe`. Where it
            does not exist, "gpt2" is GPT-2's own vocabulary, which ships with the package.

    Returns:
        The tokens by rank, and their layout.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/vocab.json): …` where a file is missing or damaged, two
            files disagree, or the vocabulary is of another kind.
    """
    if is_shipped(folder):
        tokens = shipped()
        return tokens, Layout.usual(len(tokens))
    folder = Path(folder)
    contents = _with_added(_read_tokens(folder), folder)
    tokens = tokens_of(contents.merges, contents.path)
    layout = _layout(contents, tokens, folder)
    if why := layout.problem():
        raise refusal(contents.path, why, BY_IDS)
    return tokens, layout


def to_files(tokens: Sequence[bytes], layout: Layout) -> dict[str, bytes]:
    """Return the files that `read_pretrained` and `transformers` read, by name.

    vocab.json and merges.txt; for a layout unlike GPT-2's also tokenizer.json and tokenizer_config.json, and
    generation_config.json where a text may end at several tokens.

    Raises:
        CheckpointError: `cannot write merges (…): …` where the tokens are not those of byte-pair encoding.
    """
    files = {"vocab.json": json.dumps(ids_of(tokens, layout)).encode(), "merges.txt": to_text(tokens)}
    if layout == Layout.usual(len(tokens)):
        return files
    texts = {i: text for text, i in layout.special.items()}
    end = texts[layout.eot_id]
    start = end if layout.start_id is None else texts[layout.start_id]
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": layout.prefix_space, "bos_token": start,
              "eos_token": end, "unk_token": end, "add_bos_token": layout.start_id is not None}
    if layout.sep_id is not None:
        ids = (layout.start_id, layout.sep_id, layout.mask_id, layout.pad_id, layout.unk_id)
        config |= {role: texts[i] for role, i in zip(ROBERTA, ids, strict=True) if i is not None}
        config |= {"tokenizer_class": "RobertaTokenizer"}
        del config["add_bos_token"]
    elif layout.pad_id is not None:
        config |= {"pad_token": texts[layout.pad_id], "padding_side": "right"}
    config["extra_special_tokens"] = [text for text in layout.special if text not in config.values()]
    if len(layout.end_ids) > 1:
        files["generation_config.json"] = json.dumps({"eos_token_id": list(layout.end_ids)}).encode()
    return {**files, "tokenizer.json": to_tokenizer_json(tokens, layout),
            "tokenizer_config.json": json.dumps(config, indent=2).encode()}


def _pair(folder: Path) -> tuple[Path, Path]:
    """The files of the merges and of the ids, by the names of which one is there at least."""
    pairs = [(folder / merges, folder / ids) for merges, ids in zip(MERGES, IDS, strict=True)]
    return next((pair for pair in pairs if pair[0].exists() or pair[1].exists()), pairs[-1])


def _read_tokens(folder: Path) -> Contents:
    """What tokenizer.json says, or the pair of files; where there are both, they must agree."""
    whole, (merges, ids) = folder / "tokenizer.json", _pair(folder)
    if not whole.exists():
        if ids.exists() and not merges.exists():
            raise refusal(merges, "no such file or directory", f"put it beside {ids.name}, or {BY_IDS}")
        merges_found = parsed(read_bytes(merges), merges)
        return Contents(ids, checked_ids(parse_json(read_bytes(ids), ids), ids), merges_found, {})
    contents = read_tokenizer_json(whole)
    if ids.exists():
        others = checked_ids(parse_json(read_bytes(ids), ids), ids)
        ours = {**contents.ids, **contents.added}
        other = [text for text in {**ours, **others} if ours.get(text) != others.get(text)
                 and not (text in contents.added and text not in others)]
        if other:
            raise refusal(whole, f"{ids.name} has other ids for {len(other)} tokens, the first is {other[0]!r:.40}",
                          "remove the wrong file")
    if merges.exists() and [m[1:] for m in parsed(read_bytes(merges), merges)] != [m[1:] for m in contents.merges]:
        raise refusal(whole, f"{merges.name} has other merges", "remove the wrong file")
    return contents


def _with_added(contents: Contents, folder: Path) -> Contents:
    """Contents with the tokens of added_tokens.json and of tokenizer_config.json."""
    others, config = folder / "added_tokens.json", folder / "tokenizer_config.json"
    tokens = dict(contents.added)
    for path, found in ((others, checked_ids(settings(others), others)), (config, added_in(config))):
        for text, i in found.items():
            known = tokens.setdefault(text, contents.ids.get(text, i))
            if known != i:
                raise refusal(path, f"its {text!r:.40} has id {i}, but {contents.path.name} says {known}",
                              "remove the wrong file")
    names = {**settings(folder / "special_tokens_map.json"), **settings(config)}
    roles = [token for token in names.values() if isinstance(token, dict) and isinstance(token.get("content"), str)]
    decoder = (settings(config).get("added_tokens_decoder") or {}).values()
    lstrip = {*contents.lstrip, *stripping([*decoder, *roles])}
    return replace(contents, added=tokens, lstrip=tuple(sorted(lstrip)))


def added_in(path: Path) -> dict[str, int]:
    """The added tokens in the added_tokens_decoder of a tokenizer_config.json.

    Raises:
        CheckpointError: `cannot read the vocabulary (tokenizer_config.json): an added token is not …`.
    """
    entries = settings(path).get("added_tokens_decoder") or {}
    if not isinstance(entries, dict):
        raise refusal(path, "added_tokens_decoder is not a map of ids to tokens")
    return added([{**(entry if isinstance(entry, dict) else {}), "id": int(i) if i.isdecimal() and len(i) < 10 else i}
                  for i, entry in entries.items()], path)


def settings(path: Path) -> dict[str, Any]:
    """What a file of settings says; nothing where it is absent.

    Raises:
        CheckpointError: `cannot read the vocabulary (config.json): it is not a JSON object; …`.
    """
    if not path.exists():
        return {}
    content = parse_json(read_bytes(path), path)
    if not isinstance(content, dict):
        raise refusal(path, "it is not a JSON object")
    return content


def _layout(contents: Contents, tokens: Sequence[bytes], folder: Path) -> Layout:
    texts = [printable(token) for token in tokens]
    if missing := [text for text in texts if text not in contents.ids]:
        raise refusal(contents.path, f"it lacks {len(missing)} tokens that GPT-2's way of cutting needs, the first is "
                                     f"{missing[0]!r:.40}", BY_IDS)
    rest = contents.ids.keys() - set(texts) - contents.added.keys()
    # RoBERTa's list of tokens is filled up with madeupword0000 and so on.
    if words := sorted(text for text in rest if not text.startswith(("<", "[", "madeupword"))):
        raise refusal(contents.path, f"no merge makes {len(words)} of its tokens, the first is {words[0]!r:.40}")
    special = {_text(text): contents.ids[text] for text in rest} | dict(contents.added)
    config = settings(folder / "tokenizer_config.json")
    names = {**settings(folder / "special_tokens_map.json"), **config}
    stops = ids_that_end(folder)
    eot_id = _end(special, names, stops)
    if eot_id is None:
        eot_id = special[END_OF_TEXT] = len(contents.ids.keys() | contents.added.keys())  # as transformers adds it
    ids = tuple(contents.ids[text] for text in texts)
    known = {*ids, *special.values()}
    start, roles = contents.start, _roberta(contents, special, names, folder)
    if config.get("add_bos_token") is True:
        start = content_of(names.get("bos_token", END_OF_TEXT))
    if start is not None and start not in special:
        raise refusal(folder / "tokenizer_config.json", f"texts begin with {start!r:.40}, which is no token", BY_IDS)
    prefix = config.get("add_prefix_space")
    layout = Layout(ids, special, eot_id, tuple(sorted({eot_id, *known.intersection(stops)})),
                    None if start is None else special[start],
                    contents.prefix_space if not isinstance(prefix, bool) else prefix,
                    lstrip=tuple(text for text in contents.lstrip if text in special))
    return replace(layout, **roles)


def _roberta(contents: Contents, special: Mapping[str, int], names: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a `Layout` that RoBERTa's vocabulary has beside GPT-2's; none where it is not RoBERTa's."""
    whose = names.get("tokenizer_class") or settings(folder / "config.json").get("model_type")
    if contents.end is None and not (isinstance(whose, str) and whose.lower().startswith("roberta")):
        return {}
    texts = {role: content_of(names.get(role)) or usual for role, usual in ROBERTA.items()}
    if contents.start is not None and contents.end is not None:
        texts |= {"cls_token": contents.start, "sep_token": contents.end}
    if missing := [text for text in texts.values() if text not in special]:
        raise refusal(contents.path, f"it lacks {missing[0]!r:.40}", BY_IDS)
    fields = ("start_id", "sep_id", "mask_id", "pad_id", "unk_id")
    return {field: special[text] for field, text in zip(fields, texts.values(), strict=True)}


def _text(token: str) -> str:
    """What a token that no merge makes stands for."""
    try:
        return from_printable(token).decode()
    except (KeyError, UnicodeDecodeError):
        return token


def content_of(token: Any) -> str | None:
    """The text of a token in a file of settings: itself, or in an object."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def ids_that_end(folder: Path) -> list[int]:
    """The ids at which generation_config.json or config.json says that generation ends."""
    for name in ("generation_config.json", "config.json"):
        found = settings(folder / name).get("eos_token_id")
        if found is not None:
            return [i for i in (found if isinstance(found, list) else [found]) if type(i) is int]
    return []


def _end(special: Mapping[str, int], names: Mapping[str, Any], stops: Sequence[int]) -> int | None:
    """The id of the special token that ends a text: the tokenizer's, the model's, or by its name."""
    named = content_of(names.get("eos_token"))
    if named is not None and named in special:
        return special[named]
    if stop := [i for i in stops if i in special.values()]:
        return stop[0]
    return next((special[text] for text in (END_OF_TEXT, "</s>") if text in special), None)
