"""Give a language model to other programs: the files of a published GPT-2."""

from pathlib import Path

from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.runs.folder import holds_model, holds_run
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Characters

__all__ = ["export"]


def export(saved: SavedModel, folder: Path) -> list[str]:
    """Write config.json, model.safetensors and the vocabulary's files, with which `transformers` computes the same.

    Args:
        saved: a language model with a byte-level vocabulary.
        folder: made where it is absent; one that holds a run or a model is refused.

    Returns:
        The names of the files.

    Raises:
        UsageError: the model is a classifier, or reads characters; such models have no place in these files.
        ResourceError, TinygradError: as in `files.write_atomic`.
    """
    if not isinstance(saved.model, GPT2):
        raise UsageError("cannot export a classifier: these files hold language models only; export its base")
    if isinstance(saved.tokenizer, Characters):
        raise UsageError("cannot export a model of characters: these files hold byte-level vocabularies only; "
                         "train one on byte pairs")
    if holds_run(folder) or holds_model(folder):
        raise UsageError(f"cannot export ({folder}): a run or a model is already there; choose another folder")
    vocabulary = saved.tokenizer.save_pretrained(folder)
    write_gpt2(folder, saved.model.config.to_dict(), saved.model.arrays(), saved.tokenizer.eot_id)
    return ["config.json", "model.safetensors", *vocabulary]
