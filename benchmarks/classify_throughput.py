"""Texts per second of `classify` beside transformers' text-classification pipeline, with the same weights.

    python benchmarks/classify_throughput.py [--threads 1 2] [--blocks 5] [--write]

Both read the messages of the SMS Spam Collection in the folder TINYGRAD_GPT_DATA, evenly taken from it, in the file's
order; the time is from texts to answers, tokens included. The shipped spam filter is exported to
GPT2ForSequenceClassification for the pipeline, which is measured with batches of 1, 8 and 32 texts. This package sorts
the texts of a window by their length, pads to about 1,024 tokens a batch, computes of the last block the position that
is read only, and answers a text that is there twice once.
"""

import os
import tempfile
from pathlib import Path

from common import REPOSITORY, Against, Benchmark, Case

MODEL, GOAL = "sms-spam", 1 / 3
TEXTS, TINY_TEXTS = 256, 4  # a case with the length of tiny sizes has the latter


def messages(length):
    """So many texts of the collection, or made-up ones where it is not there."""
    from tinygrad_gpt.data.classification import read_labelled

    shared = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    count = TEXTS if length >= TEXTS else TINY_TEXTS
    if not (file := shared / "spam" / "SMSSpamCollection").exists():
        return [f"see you at {i}, bring the {'cat ' * (i % 30)}" for i in range(count)]
    texts = read_labelled(file).texts
    return texts[::len(texts) // count][:count]


def our_block(length):
    from tinygrad_gpt.recipes.classification.classify import classify
    from tinygrad_gpt.runs.saved_model import load_model

    saved, texts = load_model(MODEL), messages(length)
    classify(saved, texts[:2])

    def block():
        assert len(classify(saved, texts)) == len(texts)
        return len(texts)

    return block


def pipeline_block(length, batch_size):
    import torch
    import transformers

    from tinygrad_gpt.recipes.export import export
    from tinygrad_gpt.runs.saved_model import load_model

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    transformers.logging.set_verbosity_error()
    texts = messages(length)
    with tempfile.TemporaryDirectory() as folder:
        export(load_model(MODEL), Path(folder) / "model")
        pipe = transformers.pipeline("text-classification", model=str(Path(folder) / "model"), device="cpu")
    if pipe.tokenizer.pad_token is None:
        pipe.tokenizer.pad_token = pipe.tokenizer.eos_token
    settings = {"batch_size": batch_size, "truncation": True, "max_length": 256}
    pipe(texts[:2], **settings)

    def block():
        assert len(pipe(texts, **settings)) == len(texts)
        return len(texts)

    return block


def pipeline_of(batch_size):
    """The worker with batches of that many texts."""
    return lambda length: pipeline_block(length, batch_size)


BENCHMARK = Benchmark(
    "Classifying texts", __file__,
    {"ours": our_block, **{f"torch, {size}": pipeline_of(size) for size in (1, 8, 32)}},
    [Case(f"{TEXTS} messages, each", {"length": TEXTS}, tuple(
        Against(GOAL, f"torch, {size}", note=f"pipeline, batches of {size}") for size in (1, 8, 32)))],
    "The shipped spam filter (4 blocks of width 192), float32; milliseconds for a text, from text to answer: 1,000 "
    "divided by them are texts per second. The rival is transformers' pipeline on the same weights.")

if __name__ == "__main__":
    BENCHMARK.main()
