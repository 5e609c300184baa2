"""The four published sizes of GPT-2: where they are, what their files must be, and a folder of the user's for them.

OpenAI's weights are fetched as Hugging Face publishes them, at a fixed revision. A file counts only if it has the
sha256 below, so it does not matter which server or disk it comes from.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tinygrad_gpt.checkpoints.transfer import check_source, fetch, is_url
from tinygrad_gpt.errors import CheckpointError, DataError, TinygradError, UsageError
from tinygrad_gpt.files import run_lock, sha256_of, write_atomic
from tinygrad_gpt.text.merges import GPT2_MERGES

__all__ = ["CACHE_VARIABLE", "MODELS", "Published", "cache_folder", "download", "downloaded"]

CACHE_VARIABLE = "TINYGRAD_GPT_CACHE"
MANIFEST = "download.json"  # written last: a folder that has it is complete
HUB = "https://huggingface.co/openai-community/{name}/resolve/{revision}"


@dataclass(frozen=True)
class Published:
    """One size of GPT-2.

    Args:
        revision: commit of its repository at Hugging Face, openai-community/NAME.
        sha256: of `model.safetensors`.
        size: of that file in bytes, where it is known for certain.
        n_embd, n_layer, n_head: its shape.
    """

    revision: str
    sha256: str
    size: int | None
    n_embd: int
    n_layer: int
    n_head: int


MODELS = {
    "gpt2": Published(
        "607a30d783dfa663caf39e06633721c8d4cfcd7e", "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        548_105_171, n_embd=768, n_layer=12, n_head=12),
    "gpt2-medium": Published(
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da", "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
        1_519_984_962, n_embd=1024, n_layer=24, n_head=16),
    "gpt2-large": Published(
        "32b71b12589c2f8d625668d2335a01cac3249519", "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
        None, n_embd=1280, n_layer=36, n_head=20),
    "gpt2-xl": Published(
        "15ea56dee5df4983c59b2538573817e1667135e2", "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
        None, n_embd=1600, n_layer=48, n_head=25),
}
VOCABULARY = (  # of all sizes
    ("vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", 1_042_301),
    ("merges.txt", GPT2_MERGES, 456_318),
)


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
    """Fetch model.safetensors, vocab.json and merges.txt of one model, and write its config.json beside them.

    Args:
        name: one of `MODELS`.
        source: the folder that holds the three files, as a path or as an `http(s)://` address; by default
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
        source = HUB.format(name=name, revision=MODELS[name].revision)
    elif not is_url(source) and not os.path.isdir(source):
        raise DataError(f"cannot read ({source}): no such folder; check --from")
    for file, *_ in _files(name):
        if not (folder / file).exists():
            check_source(f"{source.rstrip('/')}/{file}")
    with _made(folder), run_lock(folder):
        _is_there(folder / "config.json", hashlib.sha256(_config(name)).hexdigest())
        for file, sha256, size in _files(name):
            if not _is_there(folder / file, sha256):
                fetch(f"{source.rstrip('/')}/{file}", folder / file, sha256, size=size, report=partial(report, file))
        write_atomic(folder / "config.json", _config(name))
        write_atomic(folder / MANIFEST, _manifest(folder, name))
    return folder


def _files(name: str) -> list[tuple[str, str, int | None]]:
    """Name, sha256 and length of each file."""
    return [("model.safetensors", MODELS[name].sha256, MODELS[name].size), *VOCABULARY]


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
    """The config.json of one size, in the names that Hugging Face gave the settings."""
    shape = MODELS[name]
    settings = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024,
        "n_ctx": 1024, "n_embd": shape.n_embd, "n_layer": shape.n_layer, "n_head": shape.n_head,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256,
    }
    return json.dumps(settings, indent=2).encode() + b"\n"


def _manifest(folder: Path, name: str) -> bytes:
    """What a complete folder holds: the length of each file as it is now, and the digest it had when it came."""
    digests = {file: sha256 for file, sha256, _ in _files(name)} | {
        "config.json": hashlib.sha256(_config(name)).hexdigest()}
    files = {file: {"size": (folder / file).stat().st_size, "sha256": sha256} for file, sha256 in digests.items()}
    return json.dumps({"model": name, "revision": MODELS[name].revision, "files": files}, indent=2).encode() + b"\n"


def _is_complete(folder: Path, name: str) -> bool:
    try:
        return (folder / MANIFEST).read_bytes() == _manifest(folder, name)
    except OSError:
        return False
