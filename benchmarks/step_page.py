"""How large the page of a training step is, and how long it takes to make: a tiny model, the shipped one, 124M.

    python benchmarks/step_page.py [--write]

The 124M model has random weights. --write puts the table into docs/seeing.md.
"""

import argparse
from statistics import median
from time import perf_counter

import numpy as np
from common import REPOSITORY, machine, table, write_section

RUNS = 5
TEXT = "Once upon a time there was a little girl who lived in the wood"


def steps():
    """Pairs of a name and a step."""
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.recipes.text_step import text_step, tiny_step
    from tinygrad_gpt.runs.saved_model import SavedModel, load_model

    story = load_model("storyteller")
    yield "GPT-2 of two blocks, width 16", tiny_step()
    yield "`storyteller`", text_step(story, TEXT)
    model = GPT2(GPT2Config())
    model.wte.weight.data[...] += np.random.default_rng(0).normal(size=model.wte.weight.shape).astype(np.float32) / 50
    yield "GPT-2 124M", text_step(SavedModel(model, story.tokenizer, (), {}), TEXT)


def measure() -> list[tuple[str, ...]]:
    """A row for each model."""
    from tinygrad_gpt.engine import using_ops
    from tinygrad_gpt.recipes.step_page import page_of_step

    rows = []
    for name, step in steps():
        seconds = []
        with using_ops("plain"):
            for _ in range(RUNS):
                started = perf_counter()
                page = page_of_step(step)
                seconds.append(perf_counter() - started)
            number = len(step.trace().steps)
        rows.append((name, str(step.ids.size), str(number), f"{len(page.text) / 1e6:.1f} MB", str(page.sampled),
                     f"{median(seconds):.2f} s"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    header = ("model", "tokens", "steps", "size of the page", "arrays that are sampled", "time to make it")
    text = "\n\n".join([f"`benchmarks/step_page.py`, {machine()}; medians of {RUNS}", table(header, measure())])
    print(text)
    if options.write:
        write_section("Sizes of pages", text, REPOSITORY / "docs" / "seeing.md")


if __name__ == "__main__":
    main()
