"""The mean of several models' weights, which often answers better than each of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_gpt import __version__
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.runs.saved_model import SavedModel, packed, unpacked

__all__ = ["average"]

PARTS = ("data", "test", "extra", "split", "split_seed")  # settings that say which texts were trained on


def average(models: Sequence[SavedModel], names: Sequence[str]) -> SavedModel:
    """One model whose weights are the means of those of several, finetuned from the same base with other seeds.

    A mean of models that do not come from the same base answers at random: their weights are not alike in any order.

    Args:
        models: two or more, of the same sizes, with the same vocabulary and classes.
        names: what they are called in messages.

    Raises:
        UsageError: "cannot average (b): it has other classes than a; …".

    Source: Wortsman et al. 2022, arXiv:2203.05482 (model soups, the uniform one).
    """
    if len(models) < 2:
        raise UsageError(f"cannot average ({', '.join(names)}): one model is its own mean; give two or more")
    wanted = _what_must_agree(models[0])
    for saved, name in zip(models[1:], names[1:], strict=True):
        found = _what_must_agree(saved)
        if other := [what for what in wanted if found[what] != wanted[what]]:
            raise UsageError(f"cannot average ({name}): it has other {other[0]} than {names[0]}; "
                             "give models that were finetuned from one base on the same classes")
    weights = [saved.model.arrays() for saved in models]
    tensors, metadata = packed(models[0])
    means = {name: _mean([each[name] for each in weights]) for name in weights[0]}
    made = [saved.provenance for saved in models]
    provenance = {"recipe": "average", "version": __version__, "of": made, **_shared_data(made)}
    return unpacked(tensors | means, metadata | {"provenance": provenance}, "the mean")


def _what_must_agree(saved: SavedModel) -> dict[str, Any]:
    """What two models must have in common, by the name that a message gives it."""
    metadata = packed(saved)[1]
    sizes = {name: size for name, size in metadata["config"].items() if name != "dropout"}
    return {"sizes": (metadata["kind"], sizes), "vocabulary": saved.tokenizer, "classes": saved.labels,
            "reading": metadata.get("reading")}


def _shared_data(made: Sequence[dict]) -> dict:
    """Settings and digests, by which `evaluate` finds the parts of the data; empty where the models' parts differ."""
    first = made[0]
    same = {"config", "sha256"} <= first.keys() and all(
        other.get("sha256") == first["sha256"] and all(
            other.get("config", {}).get(name) == first["config"].get(name) for name in PARTS)
        for other in made)
    return {name: first[name] for name in ("config", "sha256")} if same else {}


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Summed in float64, so that the order of the models does not matter to float32."""
    return np.asarray(np.mean(arrays, axis=0, dtype=np.float64), np.float32)
