"""The book's listings, run with PyTorch or with this package in its place: nothing but import lines differs."""

import re
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["FOLDER", "IMPORTS", "load", "rewritten"]

FOLDER = Path(__file__).resolve().parents[1] / "book" / "listings"

IMPORTS = {
    "import torch": "import tinygrad_gpt as torch",
    "import torch.nn as nn": "import tinygrad_gpt.nn as nn",
    "import torch.nn.functional as F": "import tinygrad_gpt.nn.functional as F",
    "from torch.autograd import grad": "from tinygrad_gpt import grad",
    "from torch.utils.data import DataLoader, Dataset": "from tinygrad_gpt.data import DataLoader, Dataset",
}
# With PyTorch too: the first module fetches its files from a server, the second needs TensorFlow.
OFFLINE = {
    "import tiktoken": "import tinygrad_gpt.text as tiktoken",
    "from gpt_download import download_and_load_gpt2":
        "from tinygrad_gpt.book.gpt_download import download_and_load_gpt2",
}


def load(name: str, library: str) -> ModuleType:
    """The module of a listing; it is made once, and so are those that it imports.

    Args:
        name: of the file in `FOLDER`, without its ending.
        library: "torch", or "tinygrad_gpt" for the import lines of `IMPORTS`.
    """
    full_name = f"{library}_{name}"
    if full_name not in sys.modules:
        path = FOLDER / f"{name}.py"
        source = rewritten(path.read_text(encoding="utf-8"), library)
        for other in re.findall(rf"^from {library}_(\w+) import", source, re.MULTILINE):
            load(other, library)
        module = ModuleType(full_name)
        exec(compile(source, path, "exec"), vars(module))
        sys.modules[full_name] = module
    return sys.modules[full_name]


def rewritten(source: str, library: str) -> str:
    """The text of a listing with its import lines changed."""
    lines = OFFLINE | (IMPORTS if library == "tinygrad_gpt" else {})
    source = "\n".join(lines.get(line, line) for line in source.splitlines())
    return re.sub(r"^from ((?:chapter|appendix)_\w+) import", rf"from {library}_\1 import", source, flags=re.MULTILINE)
