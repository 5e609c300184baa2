"""tokenizer.json, the one file of a vocabulary that transformers 5 writes.

    model             the ids of the tokens, and the merges as ["a", "b"] or "a b"
    added_tokens      special and added tokens
    pre_tokenizer     how a text is cut into words: GPT-2's way is "ByteLevel"
    post_processor    what is put before and behind a text: nothing or a token before it in GPT-2, `<s>` and `</s>` in
                      RoBERTa

Whatever would give other ids than their byte-level byte-pair encoding does is refused by name.

Source: https://huggingface.co/docs/tokenizers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.merges import Merge, merge, merges_of
from tinygrad_gpt.text.vocabulary import parse_json, printable, read_bytes, refusal

__all__ = ["BY_IDS", "Contents", "added", "checked_ids", "ids_of", "kind", "read_tokenizer_json", "stripping",
           "to_tokenizer_json"]

BY_IDS = "use the model by ids, with generate --ids"


@dataclass(frozen=True)
class Contents:
    """What the files of a vocabulary say.

    Args:
        path: of the file with the ids, for messages.
        ids: of the tokens as they are written.
        merges: in the order in which they were learned.
        added: the id of each special or added token by its text.
        prefix_space: whether a text that begins without a space gets one.
        start: the text of the token that is put before each text.
        end: the text of the token that is put behind each text.
        lstrip: added tokens that take the white space before them.
    """

    path: Path
    ids: Mapping[str, int]
    merges: Sequence[Merge]
    added: Mapping[str, int]
    prefix_space: bool = False
    start: str | None = None
    end: str | None = None
    lstrip: tuple[str, ...] = ()


def read_tokenizer_json(path: Path) -> Contents:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/tokenizer.json): model.type is 'WordLevel', and only 'BPE'
            is read; use the model by ids, with generate --ids`.
    """
    content = parse_json(read_bytes(path), path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise refusal(path, "it has no model")
    model = content["model"]
    _refuse_others(content, path)
    entries = model.get("merges")
    if not isinstance(entries, list):
        raise refusal(path, "model.merges is not a list")
    pairs = [entry.split(" ") if isinstance(entry, str) else entry for entry in entries]
    start, end = _frame(content.get("post_processor"), path)
    return Contents(
        path, checked_ids(model.get("vocab"), path),
        [merge(f"merge {number}", pair, path) for number, pair in enumerate(pairs, start=1)],
        added(content.get("added_tokens") or [], path),
        prefix_space=bool(content["pre_tokenizer"].get("add_prefix_space", True)),
        start=start, end=end, lstrip=stripping(content.get("added_tokens") or []))


def _refuse_others(content: Mapping[str, Any], path: Path) -> None:
    """Raise one error with all settings that would give other ids than GPT-2's way does."""
    model, words = content["model"], content.get("pre_tokenizer")
    words = words if isinstance(words, dict) else {}
    settings = {
        "model.type": (model.get("type", "BPE"), "BPE"), "model.dropout": (model.get("dropout") or None, None),
        "model.ignore_merges": (bool(model.get("ignore_merges")), False),
        "model.continuing_subword_prefix": (model.get("continuing_subword_prefix") or None, None),
        "model.end_of_word_suffix": (model.get("end_of_word_suffix") or None, None),
        "normalizer": (kind(content.get("normalizer")), None), "pre_tokenizer": (words.get("type"), "ByteLevel"),
        "pre_tokenizer.use_regex": (bool(words.get("use_regex", True)), True)}
    if problems := [f"{name} is {found!r:.40}, and only {only!r} is read"
                    for name, (found, only) in settings.items() if found != only]:
        raise refusal(path, "; ".join(problems), BY_IDS)


def kind(part: Any) -> Any:
    """The type of a part of a tokenizer; None where it has no such part."""
    return None if part is None else part.get("type") if isinstance(part, dict) else "no object"


def _name(token: Any) -> Any:
    return token.get("id") if isinstance(token, dict) else None


def _frame(processor: Any, path: Path) -> tuple[str | None, str | None]:
    """The tokens that a post-processor puts before and behind each text."""
    if processor is None or kind(processor) == "ByteLevel":
        return None, None
    if kind(processor) == "RobertaProcessing":
        names = [pair[0] for pair in (processor.get("cls"), processor.get("sep")) if isinstance(pair, list) and pair]
        if len(names) == 2 and all(isinstance(name, str) for name in names):
            return names[0], names[1]
    single = processor.get("single") if kind(processor) == "TemplateProcessing" else None
    if isinstance(single, list) and all(isinstance(item, dict) for item in single):
        parts = [next(iter(item), None) for item in single]
        texts = [_name(item["SpecialToken"]) for item in single if "SpecialToken" in item]
        if all(isinstance(text, str) for text in texts):
            if parts == ["Sequence"]:
                return None, None
            if parts == ["SpecialToken", "Sequence"]:
                return texts[0], None
            if parts == ["SpecialToken", "Sequence", "SpecialToken"]:
                return texts[0], texts[1]
    raise refusal(path, f"post_processor is {kind(processor)!r:.40} and puts other than one token before a text, or "
                        "one before and one behind it", BY_IDS)


def checked_ids(ids: Any, path: Path) -> dict[str, int]:
    """Return a map of tokens to ids, each id once.

    Raises:
        CheckpointError: `cannot read the vocabulary (vocab.json): …` where it is none.
    """
    if not isinstance(ids, dict) or not all(type(i) is int and 0 <= i < 2**31 and text for text, i in ids.items()):
        raise refusal(path, "it is not a map of tokens to ids from 0 on")
    if len(set(ids.values())) < len(ids):
        raise refusal(path, "two of its tokens have one id")
    return ids


def added(entries: Any, path: Path) -> dict[str, int]:
    """Return the ids of a list of added tokens, by their texts.

    Raises:
        CheckpointError: `cannot read the vocabulary (tokenizer.json): its added token '<mask>' has rstrip, …`.
    """
    tokens: dict[str, int] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or type(entry.get("id")) is not int:
            raise refusal(path, "an added token is not one with a content and an id")
        text = entry["content"]
        for flag in ("rstrip", "single_word"):
            if entry.get(flag):
                raise refusal(path, f"its added token {text!r:.40} has {flag}, which is not known here", BY_IDS)
        if tokens.setdefault(text, entry["id"]) != entry["id"]:
            raise refusal(path, f"its added token {text!r:.40} has two ids")
    return checked_ids(tokens, path)


def stripping(entries: Any) -> tuple[str, ...]:
    """Return the texts of those in a list of added tokens that take the white space before them."""
    return tuple(sorted({entry["content"] for entry in entries if entry.get("lstrip")}))


def to_tokenizer_json(tokens: Sequence[bytes], layout: Layout) -> bytes:
    """Return the tokenizer.json of a vocabulary.

    Raises:
        CheckpointError: as in `merges_of`.
    """
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    texts = {i: text for text, i in layout.special.items()}
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags, "lstrip": text in layout.lstrip, "special": True}
                         for i, text in sorted(texts.items())],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": layout.prefix_space, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": _post_processor(layout, texts),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": ids_of(tokens, layout), "merges": _pairs(tokens)}}
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def _post_processor(layout: Layout, texts: Mapping[int, str]) -> dict[str, Any]:
    """What is put before and behind a text, in tokenizer.json's words."""
    if layout.start_id is not None and layout.sep_id is not None:
        return {"type": "RobertaProcessing", "sep": [texts[layout.sep_id], layout.sep_id], "trim_offsets": True,
                "cls": [texts[layout.start_id], layout.start_id], "add_prefix_space": layout.prefix_space}
    template: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    used = {}
    if layout.start_id is not None:
        start = texts[layout.start_id]
        template.insert(0, {"SpecialToken": {"id": start, "type_id": 0}})
        used[start] = {"id": start, "ids": [layout.start_id], "tokens": [start]}
    return {"type": "TemplateProcessing", "single": template, "pair": [
        *template, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": used}


def ids_of(tokens: Iterable[bytes], layout: Layout) -> dict[str, int]:
    """Return the id of every token as files of GPT-2's kind write it, in the order of the ids."""
    ids = {printable(token): i for token, i in zip(tokens, layout.ids, strict=True)} | dict(layout.special)
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _pairs(tokens: Sequence[bytes]) -> list[list[str]]:
    return [[printable(left), printable(token[len(left):])]
            for token, left in zip(tokens[256:], merges_of(tokens), strict=True)]
