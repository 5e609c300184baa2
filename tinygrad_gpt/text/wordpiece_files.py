"""The WordPiece vocabulary in the folder of a published BERT, as Google and Hugging Face write it.

    vocab.txt                  a token a line; its id is its line
    tokenizer.json             all of it, as transformers writes it
    added_tokens.json          the tokens that were added to vocab.txt
    tokenizer_config.json, special_tokens_map.json
                               how texts are normalised, and the special tokens

Source: https://github.com/google-research/bert; https://huggingface.co/docs/tokenizers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text.layout import Layout
from tinygrad_gpt.text.pretrained import added_in, content_of, settings
from tinygrad_gpt.text.tokenizer_json import BY_IDS, added, checked_ids, kind
from tinygrad_gpt.text.vocabulary import parse_json, read_bytes, refusal
from tinygrad_gpt.text.wordpiece import MAX_CHARACTERS, Normalization

__all__ = ["bert_layout", "is_wordpiece", "read_wordpiece", "to_files"]

# The special tokens by what they are for, under the names that BERT's vocabularies have.
ROLES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


def is_wordpiece(folder: str | Path) -> bool:
    """Whether the vocabulary in a folder is WordPiece: vocab.txt, or a tokenizer.json that says so.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/tokenizer.json): …` where that file is damaged.
    """
    whole = Path(folder) / "tokenizer.json"
    if not whole.exists():
        return (Path(folder) / "vocab.txt").exists()
    content = parse_json(read_bytes(whole), whole)
    return isinstance(content, dict) and kind(content.get("model")) == "WordPiece"


def bert_layout(tokens: Sequence[str], names: Mapping[str, str] = ROLES, added: Sequence[str] = ()) -> Layout:
    """Return the layout of a vocabulary with BERT's special tokens.

    Args:
        tokens: in the order of their ids.
        names: the special tokens by their role, such as "cls_token".
        added: further special tokens.

    Raises:
        CheckpointError: `cannot use the vocabulary (3 tokens): it lacks '[CLS]'; …`.
    """
    special = dict.fromkeys([*names.values(), *added])
    ids = {token: i for i, token in enumerate(tokens) if token in special}
    if missing := [name for name in names.values() if name not in ids]:
        raise CheckpointError(f"cannot use the vocabulary ({len(tokens)} tokens): it lacks {missing[0]!r:.40}; load it "
                              "again")
    sep_id = ids[names["sep_token"]]
    return Layout(tuple(range(len(tokens))), ids, sep_id, (sep_id,), ids[names["cls_token"]], sep_id=sep_id,
                  mask_id=ids[names["mask_token"]], pad_id=ids[names["pad_token"]], unk_id=ids[names["unk_token"]])


def read_wordpiece(folder: str | Path) -> tuple[list[str], Layout, Normalization]:
    """Read the vocabulary of a published BERT.

    Args:
        folder: holds vocab.txt or tokenizer.json. tokenizer_config.json, where it is there, has the last word on the
            normalisation, as in `transformers`.

    Returns:
        The tokens in the order of their ids, their layout, and how texts are normalised.

    Raises:
        CheckpointError: `cannot read the vocabulary (model/vocab.txt): …` where a file is missing or damaged, two
            files disagree, or texts would be cut otherwise than by BERT.
    """
    folder = Path(folder)
    path, ids, normalizer = _read_tokens(folder)
    config = folder / "tokenizer_config.json"
    chosen = {**settings(folder / "special_tokens_map.json"), **settings(config)}
    extra = _added(folder)
    for text, i in extra.items():
        if ids.setdefault(text, i) != i:
            raise refusal(path, f"its token {text!r:.40} has id {ids[text]}, but another file says {i}")
    tokens = sorted(ids, key=ids.__getitem__)
    if gaps := [i for i, token in enumerate(tokens) if ids[token] != i]:
        raise refusal(path, f"no token has id {gaps[0]}")
    names = {role: content_of(chosen.get(role)) or usual for role, usual in ROLES.items()}
    if missing := [name for name in names.values() if name not in ids]:
        raise refusal(path, f"it lacks {missing[0]!r:.40}", BY_IDS)
    return tokens, bert_layout(tokens, names, list(extra)), _normalization(normalizer, settings(config), config)


def to_files(tokens: Sequence[str], layout: Layout, normalization: Normalization) -> dict[str, bytes]:
    """Return the files that `read_wordpiece` and `transformers` read, by name: vocab.txt, tokenizer.json and
    tokenizer_config.json.

    Raises:
        CheckpointError: `cannot write vocab.txt ('a\\n'): …` where a token does not fit on a line.
    """
    if broken := [token for token in tokens if token != token.strip("\r\n") or len(token.splitlines()) != 1]:
        raise CheckpointError(f"cannot write vocab.txt ({broken[0]!r:.40}): the token is not one line; remove it")
    ids = (layout.start_id, layout.sep_id, layout.mask_id, layout.pad_id, layout.unk_id)
    names = {role: tokens[i] for role, i in zip(ROLES, ids, strict=True) if i is not None}
    config = {"tokenizer_class": "BertTokenizer", **asdict(normalization), **names}
    return {"vocab.txt": "".join(f"{token}\n" for token in tokens).encode(),
            "tokenizer.json": _to_tokenizer_json(tokens, layout, normalization),
            "tokenizer_config.json": json.dumps(config, indent=2).encode()}


def _read_tokens(folder: Path) -> tuple[Path, dict[str, int], Mapping[str, Any]]:
    """The file that is read, the ids of its tokens, and what it says about the normalisation.

    Where there are both tokenizer.json and vocab.txt, they must agree.
    """
    whole, lines = folder / "tokenizer.json", folder / "vocab.txt"
    if not whole.exists():
        return lines, _read_lines(lines), {}
    content = parse_json(read_bytes(whole), whole)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise refusal(whole, "it has no model")
    _refuse_others(content, whole)
    ids = dict(checked_ids(content["model"].get("vocab"), whole))
    if lines.exists():
        others = _read_lines(lines)
        known = {**added(content.get("added_tokens") or [], whole), **ids}
        if other := [text for text in {**ids, **others} if known.get(text) != others.get(text)]:
            raise refusal(whole, f"vocab.txt has other ids for {len(other)} tokens, the first is {other[0]!r:.40}",
                          "remove the wrong file")
    return whole, ids, content["normalizer"]


def _read_lines(path: Path) -> dict[str, int]:
    """The ids of the tokens in vocab.txt."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise refusal(path, "it is not UTF-8") from None
    tokens = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if ids[token] != i)
        raise refusal(path, f"it has {twice!r:.40} twice")
    return ids


def _refuse_others(content: Mapping[str, Any], path: Path) -> None:
    """Raise one error with all settings that would give other ids than BERT's way does."""
    model, normalizer = content["model"], content.get("normalizer")
    cleaned = normalizer.get("clean_text", True) if isinstance(normalizer, dict) else True
    found = {
        "model.type": (model.get("type"), "WordPiece"),
        "model.continuing_subword_prefix": (model.get("continuing_subword_prefix", "##"), "##"),
        "model.max_input_chars_per_word": (model.get("max_input_chars_per_word", MAX_CHARACTERS), MAX_CHARACTERS),
        "normalizer": (kind(normalizer), "BertNormalizer"), "normalizer.clean_text": (cleaned, True),
        "pre_tokenizer": (kind(content.get("pre_tokenizer")), "BertPreTokenizer")}
    if problems := [f"{name} is {value!r:.40}, and only {only!r} is read"
                    for name, (value, only) in found.items() if value != only]:
        raise refusal(path, "; ".join(problems), BY_IDS)


def _added(folder: Path) -> dict[str, int]:
    """The tokens that were added, by whichever files."""
    names, whole = folder / "added_tokens.json", folder / "tokenizer.json"
    entries = settings(whole).get("added_tokens") or []
    return {**added(entries, whole), **checked_ids(settings(names), names),
            **added_in(folder / "tokenizer_config.json")}


def _normalization(normalizer: Mapping[str, Any], config: Mapping[str, Any], path: Path) -> Normalization:
    """What tokenizer_config.json says, or else tokenizer.json, or else what BERT does."""
    usual = Normalization()
    said = {"do_lower_case": normalizer.get("lowercase", usual.do_lower_case),
            "strip_accents": normalizer.get("strip_accents", usual.strip_accents),
            "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", usual.tokenize_chinese_chars)}
    said |= {name: config[name] for name in said if name in config}
    if wrong := [name for name, value in said.items()
                 if type(value) is not bool and not (name == "strip_accents" and value is None)]:
        raise refusal(path, f"{wrong[0]} is {said[wrong[0]]!r:.40}, not true or false")
    return Normalization(**said)


def _to_tokenizer_json(tokens: Sequence[str], layout: Layout, normalization: Normalization) -> bytes:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    first, last = tokens[layout.start_id or 0], tokens[layout.sep_id or 0]
    text, frame = {"Sequence": {"id": "A", "type_id": 0}}, [{"SpecialToken": {"id": name, "type_id": 0}}
                                                            for name in (first, last)]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": last, "type_id": 1}}]
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags, "special": True}
                         for name, i in sorted(layout.special.items(), key=lambda item: item[1])],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": normalization.do_lower_case,
                       "strip_accents": normalization.strip_accents,
                       "handle_chinese_chars": normalization.tokenize_chinese_chars},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [frame[0], text, frame[1]],
                           "pair": [frame[0], text, frame[1], *second], "special_tokens": {
                               name: {"id": name, "ids": [layout.special[name]], "tokens": [name]}
                               for name in (first, last)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": tokens[layout.unk_id or 0], "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": MAX_CHARACTERS, "vocab": {token: i for i, token in enumerate(tokens)}}}
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"
