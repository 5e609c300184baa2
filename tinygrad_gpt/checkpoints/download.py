"""The published models: where they are, what their files must be, and a folder of the user's for them.

They are the four sizes of GPT-2, and MiniLM, a small BERT. They are fetched as Hugging Face publishes them, at a fixed
revision. A file counts only if it has the
sha256 below, so it does not matter which server or disk it comes from.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_gpt.checkpoints.transfer import check_source, fetch, is_url
from tinygrad_gpt.errors import CheckpointError, DataError, TinygradError, UsageError
from tinygrad_gpt.files import run_lock, sha256_of, write_atomic
from tinygrad_gpt.text.merges import GPT2_MERGES

__all__ = ["CACHE_VARIABLE", "MODELS", "Published", "cache_folder", "download", "downloaded", "gpt2_config"]

CACHE_VARIABLE = "TINYGRAD_GPT_CACHE"
MANIFEST = "download.json"  # written last: a folder that has it is complete
HUB = "https://huggingface.co/{repository}/resolve/{revision}"
Files = tuple[tuple[str, str, int | None], ...]


@dataclass(frozen=True)
class Published:
    """One model.

    Args:
        repository: at Hugging Face.
        revision: commit of it.
        files: name, sha256, and length in bytes where it is known for certain, of each file.
        config: what its config.json says, in the names that Hugging Face gave the settings.
    """

    repository: str
    revision: str
    files: Files
    config: Mapping[str, Any]


def gpt2_config(n_embd: int, n_layer: int, n_head: int) -> dict[str, Any]:
    """What the config.json of one size of GPT-2 says."""
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024,
        "n_ctx": 1024, "n_embd": n_embd, "n_layer": n_layer, "n_head": n_head,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256,
    }


GPT2_VOCABULARY: Files = (
    ("vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", 1_042_301),
    ("merges.txt", GPT2_MERGES, 456_318),
)
MINILM = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512,
    "type_vocab_size": 2, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "pad_token_id": 0}
MODELS = {
    "gpt2": Published(
        "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", (
            ("model.safetensors", "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707", 548_105_171),
            *GPT2_VOCABULARY), gpt2_config(n_embd=768, n_layer=12, n_head=12)),
    "gpt2-medium": Published(
        "openai-community/gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da", (
            ("model.safetensors", "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd", 1_519_984_962),
            *GPT2_VOCABULARY), gpt2_config(n_embd=1024, n_layer=24, n_head=16)),
    "gpt2-large": Published(
        "openai-community/gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519", (
            ("model.safetensors", "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce", None),
            *GPT2_VOCABULARY), gpt2_config(n_embd=1280, n_layer=36, n_head=20)),
    "gpt2-xl": Published(
        "openai-community/gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2", (
            ("model.safetensors", "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a", None),
            *GPT2_VOCABULARY), gpt2_config(n_embd=1600, n_layer=48, n_head=25)),
    "minilm": Published(
        "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41", (
            ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
            ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247)), MINILM),
}


def cache_folder() -> Path:
    """The folder for what was downloaded: `TINYGRAD_GPT_CACHE`, or else the place that the system has for caches.

    Raises:
        TinygradError: `no cache folder (HOME): …` where the user has no home.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    from platformdirs import user_cache_path

    with contextlib.suppress(RuntimeError):
        if (folder := user_cache_path("tinygrad_gpt", appauthor=False)).is_absolute():
            return folder
    raise TinygradError(f"no cache folder (HOME): the home folder is unknown; set {CACHE_VARIABLE} to a folder")


def downloaded(name: str) -> Path | None:
    """The folder of a model that was downloaded completely, or None.

    Args:
        name: any text; only the names in `MODELS` can have a folder.
    """
    if name not in MODELS:
        return None
    folder = cache_folder() / name
    return folder if _is_complete(folder, name) else None


def download(name: str, *, source: str | None = None, folder: Path | None = None,
             report: Callable[[str, int, int], None] = lambda file, done, total: None) -> Path:
    """Fetch the weights and the vocabulary of one model, and write its config.json beside them.

    Args:
        name: one of `MODELS`.
        source: the folder that holds the files, as a path or as an `http(s)://` address; by default
            Hugging Face's. A mirror with the same layout is `https://HOST/openai-community/gpt2/resolve/main`.
        folder: where the files shall go; by default a folder of that name in `cache_folder()`.
        report: called with a file's name, its bytes that are there, and its length, after every piece.

    Returns:
        The folder. If everything is there already, nothing is fetched.

    Raises:
        CheckpointError: a file is not the published one: `wrong file (https://…): its sha256 is …, expected …; …`.
        ResourceError: the disk has no room.
        TinygradError: the server or the folder cannot be used; what has arrived is kept for the next call. If that
            is nothing, a folder that was made is gone again.
    """
    if name not in MODELS:
        raise UsageError(f"no such model ({name}): it is not one of {', '.join(MODELS)}; use one of these names")
    if folder is None:
        folder = cache_folder() / name
    if _is_complete(folder, name):
        return folder
    if source is None:
        source = HUB.format(repository=MODELS[name].repository, revision=MODELS[name].revision)
    elif not is_url(source) and not os.path.isdir(source):
        raise DataError(f"cannot read ({source}): no such folder; check --from")
    for file, *_ in MODELS[name].files:
        if not (folder / file).exists():
            check_source(f"{source.rstrip('/')}/{file}")
    with _made(folder), run_lock(folder):
        _is_there(folder / "config.json", hashlib.sha256(_config(name)).hexdigest())
        for file, sha256, size in MODELS[name].files:
            if not _is_there(folder / file, sha256):
                fetch(f"{source.rstrip('/')}/{file}", folder / file, sha256, size=size, report=partial(report, file))
        write_atomic(folder / "config.json", _config(name))
        write_atomic(folder / MANIFEST, _manifest(folder, name))
    return folder


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing, for its user only; a failure that leaves it empty leaves none."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TinygradError(f"cannot make the folder ({folder}): {(error.strerror or str(error)).lower()}; "
                                f"set {CACHE_VARIABLE} to a folder you can write to") from error
        yield
    except BaseException:  # also a Ctrl-C
        with contextlib.suppress(OSError):  # it holds what has arrived
            for path in missing:
                path.rmdir()
        raise


def _is_there(path: Path, sha256: str) -> bool:
    """Whether an earlier call brought this file."""
    if not path.exists():
        return False
    if (found := sha256_of(path)) != sha256:
        raise CheckpointError(f"another file is in the way ({path}): its sha256 is {found:.16}…, expected "
                              f"{sha256:.16}…; move or delete it")
    return True


def _config(name: str) -> bytes:
    """The config.json of one model."""
    return json.dumps(MODELS[name].config, indent=2).encode() + b"\n"


def _manifest(folder: Path, name: str) -> bytes:
    """What a complete folder holds: the length of each file as it is now, and the digest it had when it came."""
    digests = {file: sha256 for file, sha256, _ in MODELS[name].files} | {
        "config.json": hashlib.sha256(_config(name)).hexdigest()}
    files = {file: {"size": (folder / file).stat().st_size, "sha256": sha256} for file, sha256 in digests.items()}
    return json.dumps({"model": name, "revision": MODELS[name].revision, "files": files}, indent=2).encode() + b"\n"


def _is_complete(folder: Path, name: str) -> bool:
    try:
        return (folder / MANIFEST).read_bytes() == _manifest(folder, name)
    except OSError:
        return False
