"""The texts of a finetuning run: labelled ones in their parts, and those without labels."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tinygrad_gpt.book.splits import divide
from tinygrad_gpt.data.classification import (
    LabelledTexts,
    Split,
    in_given_order,
    normalise,
    read_labelled,
    split_for_test,
    with_extra,
)
from tinygrad_gpt.data.texts import is_table, read_texts
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.runs.folder import absolute

__all__ = ["FILES", "TEXTS", "absolute_paths", "digest_of", "read_parts", "read_unlabelled", "role_of",
           "with_absolute_paths"]

FILES = ("data", "test", "extra", "base", "vocabulary", "unlabelled", "teachers")  # settings that may be paths
TEXTS = ("data", "test", "extra", "unlabelled")  # those that are files of texts, in the order of their digests


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, where paths hold from any folder."""
    def path(value: Any) -> Any:
        return tuple(map(absolute, value)) if isinstance(value, tuple) else absolute(value)

    return {name: path(value) if name in FILES and value else value for name, value in settings.items()}


def with_absolute_paths(config: FinetuneConfig) -> FinetuneConfig:
    """The same run, from any folder."""
    return replace(config, **absolute_paths({name: getattr(config, name) for name in FILES}))


def digest_of(origin: Mapping[str, Any], setting: str) -> str | None:
    """The sha256 of the file of texts that a run read for a setting; None if it read none, or does not say which.

    Args:
        origin: the provenance of its model; the digests are by name, as `files.digests_of` gives them.
        setting: one of `TEXTS`.
    """
    *before, name = (origin.get("config", {}).get(each) for each in TEXTS[:TEXTS.index(setting) + 1])
    if not isinstance(name, str):
        return None
    same = before.count(name)
    return origin.get("sha256", {}).get(f"{name} {same + 1}" if same else name)


def role_of(origin: Mapping[str, Any], digest: str) -> str | None:
    """Which of `TEXTS` a file was in a run: "data", where the run does not say which; None if it did not read it.

    Args:
        origin: as in `digest_of`.
        digest: the file's sha256.
    """
    if digest not in origin.get("sha256", {}).values():
        return None
    return next((name for name in TEXTS if digest_of(origin, name) == digest), "data")


def read_parts(config: FinetuneConfig) -> tuple[LabelledTexts, Split]:
    """All texts of the run, and their parts."""
    read = partial(read_labelled, text_column=config.text_column, label_column=config.label_column,
                   encoding=config.encoding, skip_malformed=config.skip_malformed, quotes=config.split != "by-text",
                   label_separator=config.label_separator)
    data, seed = read(config.data), config.split_seed
    data = in_given_order(data, config.classes) if config.classes else data
    if config.test is None:
        split = divide(data, config.split, seed)
    else:
        data, split = split_for_test(data, read(config.test), seed=seed)
    return with_extra(data, split, read(config.extra), seed=seed) if config.extra else (data, split)


def read_unlabelled(config: FinetuneConfig, data: LabelledTexts, split: Split) -> list[str]:
    """The texts of the unlabelled file, but none that is also a training, validation or test text.

    In a table they are in the same column as the labelled ones.

    Raises:
        DataError: the file cannot be read.
    """
    if not config.unlabelled:
        return []
    column = config.text_column if is_table(config.unlabelled) else None
    texts, _ = read_texts(config.unlabelled, column, encoding=config.encoding, skip_malformed=config.skip_malformed)
    known = {normalise(data.texts[i]) for i in split.rows}
    return [text for text in texts if text.strip() and normalise(text) not in known]
