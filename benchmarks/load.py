"""What a 124M model costs from the start of reading to the first logit: time and memory, beside safetensors + torch.

    python benchmarks/load.py [--runs N] [--write]

Random weights are written once into a temporary folder, in float32 (as safetensors writes it today, and with the data
on an odd address, as in the file that OpenAI's weights were published in) and in float16. Each run is a process of its
own, whose imports are not counted; the readers take turns. Time is the processor's, so that other
programs on the machine do not count. torch runs the model of tests/torch_gpt2.py.
"""

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from common import machine, median, peak_mib, table, write_section

REPOSITORY = Path(__file__).resolve().parents[1]
IDS = [[464, 2068, 7586, 21831]]


def write_files(folder: Path) -> list[Path]:
    """The same weights in three files, each in a folder with its config.json."""
    import numpy as np

    from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model = GPT2(GPT2Config())
    config, weights = model.config.to_dict(), model.state_dict()
    folders = [folder / name for name in ("float32", "float32, odd address", "float16")]
    write_gpt2(folders[0], config, weights)
    write_gpt2(folders[2], config, {name: array.astype(np.float16) for name, array in weights.items()})
    folders[1].mkdir()
    (folders[1] / "config.json").write_bytes((folders[0] / "config.json").read_bytes())
    image = (folders[0] / "model.safetensors").read_bytes()
    length, = struct.unpack("<Q", image[:8])
    (folders[1] / "model.safetensors").write_bytes(struct.pack("<Q", length + 3) + image[8:8 + length] + b"   "
                                                   + image[8 + length:])
    return folders


def ours(folder: Path) -> float:
    """Seconds of the processor to the first logit."""
    import numpy as np

    from tinygrad_gpt import no_grad
    from tinygrad_gpt.models.gpt2 import GPT2

    ids = np.array(IDS)
    started = time.process_time()
    with no_grad():
        float(GPT2.from_pretrained(folder)(ids).numpy()[0, -1, 0])
    return time.process_time() - started


def torchs(folder: Path) -> float:
    """The same with safetensors and torch, the weights being views of what was read."""
    sys.path.append(str(REPOSITORY / "tests"))
    import torch
    import torch_gpt2
    from safetensors.torch import load_file

    from tinygrad_gpt.models.gpt2 import GPT2Config

    ids = torch.tensor(IDS)
    started = time.process_time()
    with torch.device("meta"):
        model = torch_gpt2.GPT2(GPT2Config())
    flipped = torch_gpt2.transposed_names(model)
    state = {name.removeprefix("transformer."): value.float() for name, value in load_file(
        folder / "model.safetensors").items()}
    model.load_state_dict({name: value.T if name in flipped else value for name, value in state.items()}, assign=True)
    with torch.no_grad():
        float(model(ids)[0, -1, 0])
    return time.process_time() - started


def child(reader: str, folder: Path) -> None:
    seconds = {"ours": ours, "torch": torchs}[reader](folder)
    status = Path("/proc/self/status")
    anonymous = re.search(r"RssAnon:\s+(\d+)", status.read_text()) if status.exists() else None
    print(json.dumps({"seconds": seconds, "peak": peak_mib(),
                      "own": int(anonymous[1]) / 1024 if anonymous else float("nan")}))


def measure(folders: list[Path], runs: int) -> str:
    """A table with a row for each file and reader."""
    readers = ["ours", *(["torch"] if find_spec("torch") else [])]
    results: dict[tuple[Path, str], list[dict[str, float]]] = {(f, r): [] for f in folders for r in readers}
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for _ in range(1 + runs):  # the first round brings the files into memory
        for (folder, reader), figures in results.items():
            done = subprocess.run([sys.executable, __file__, "--child", reader, str(folder)], env=environment,
                                  check=True, capture_output=True, text=True)
            figures.append(json.loads(done.stdout))
    rows = []
    for (folder, reader), figures in results.items():
        middle = {name: median(run[name] for run in figures[1:]) for name in figures[0]}
        label = "this package" if reader == "ours" else "safetensors + torch"
        rows.append((folder.name, label, f"{middle['seconds']:.2f}", f"{middle['peak']:.0f}", f"{middle['own']:.0f}"))
    return table(("124M weights in", "reader", "seconds to the first logit", "peak MiB", "own MiB"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=5, help="at least 5")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    settings = parser.parse_args()
    if settings.child:
        child(settings.child[0], Path(settings.child[1]))
        return
    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(write_files(Path(folder)), max(5, settings.runs))
    markdown = "\n\n".join([
        f"`benchmarks/load.py`, {machine()}", figures,
        f"From the start of reading to the first logit of {len(IDS[0])} tokens, one thread, seconds of the processor, "
        f"files in the system's cache; medians of {max(5, settings.runs)} processes taking turns. Peak is the most the "
        "process held, pages of the mapped file among it, which the system can take back; own is what it held at the "
        "end without them. A float32 file on an odd address is copied, because NumPy would copy it before every "
        "matrix product."])
    print(markdown)
    if settings.write:
        write_section("Loading a model", markdown)


if __name__ == "__main__":
    main()
