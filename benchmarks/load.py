"""What a 124M model costs from the start of reading to the first logit: time and memory, beside safetensors + torch.

    python benchmarks/load.py [--threads 1 2] [--write]

Random weights are written once into a temporary folder, in float32 (as safetensors writes it today, and with the data
on an odd address, as in the file that OpenAI's weights were published in) and in float16. Each run is a process of its
own. It has loaded a tiny model before, so that imports do not count, except where the table says so. torch
runs the model of tests/helpers/torch_gpt2.py, the weights being views of what was read.
"""

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from common import GPT2_124M, Against, Benchmark, Case, Line, Options, tiny

IDS = [[64, 20, 75, 21]]
FORMS = ("float32", "float32, odd address", "float16")


def write_files(folder: Path, **sizes) -> None:
    """The same weights in three files, each in a folder with its config.json."""
    import numpy as np

    from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

    model = GPT2(GPT2Config(**sizes))
    config, weights = model.config.to_dict(), model.arrays()
    plain, odd, half = (folder / form for form in FORMS)
    write_gpt2(plain, config, weights)
    write_gpt2(half, config, {name: array.astype(np.float16) for name, array in weights.items()})
    odd.mkdir()
    (odd / "config.json").write_bytes((plain / "config.json").read_bytes())
    image = (plain / "model.safetensors").read_bytes()
    length, = struct.unpack("<Q", image[:8])
    (odd / "model.safetensors").write_bytes(struct.pack("<Q", length + 3) + image[8:8 + length] + b"   "
                                            + image[8 + length:])


def our_block(folder, small, **_):
    def load(path):
        import numpy as np

        from tinygrad_gpt import no_grad
        from tinygrad_gpt.models.gpt2 import GPT2

        with no_grad():
            float(GPT2.from_pretrained(path)(np.array(IDS)).numpy()[0, -1, 0])

    if small:
        load(small)
    return lambda: load(folder)


def torch_block(folder, small, **sizes):
    def load(path, sizes):
        from safetensors.torch import load_file
        from torch_side import gpt2_config, torch, torch_gpt2

        with torch.device("meta"):
            model = torch_gpt2.GPT2(gpt2_config(1024, **sizes))
        flipped = torch_gpt2.transposed_names(model)
        state = {name.removeprefix("transformer."): value.float()
                 for name, value in load_file(f"{path}/model.safetensors").items()}
        model.load_state_dict({name: value.T if name in flipped else value for name, value in state.items()},
                              assign=True)
        with torch.no_grad():
            float(model(torch.tensor(IDS))[0, -1, 0])

    if small:
        load(small, tiny(sizes))
    return lambda: load(folder, sizes)


@contextmanager
def cases(sizes: dict) -> Iterator[list[Case]]:
    """While the files are there."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), **sizes)
        write_files(Path(folder, "small"), **tiny(sizes))
        small = str(Path(folder, "small", "float32"))
        yield [Case(form + more, sizes | {"folder": str(Path(folder, form)), "small": warm_up}, against,
                    in_quick=form == "float32")
               for form in FORMS
               for more, warm_up, against in (
                   ("", small, (Against(0.5), Against(figure="mib", note="memory"),
                                Against(figure="own_mib", note="memory of its own"))),
                   (", imports included", None, (Against(0.5),)))]


class Loading(Benchmark):
    """Its files are written before and removed behind."""

    def measure(self, options: Options) -> list[Line]:
        with cases(tiny(GPT2_124M) if options.tiny else GPT2_124M) as found:
            return Benchmark.measure(replace(self, cases=found), options)


BENCHMARK = Loading(
    "Loading a model", __file__, {"ours": our_block, "torch": torch_block}, (),
    "GPT-2 124M from the start of reading to the first logit of 4 tokens, files in the system's cache, each time in a "
    "new process; torch: with safetensors. Memory counts the pages of the mapped file, which the system can take back; "
    "memory of its own is what the process holds at the end without them. A float32 file on an odd address is copied, "
    "because NumPy would copy it before every matrix product.", fresh=True)

if __name__ == "__main__":
    BENCHMARK.main()
