"""Texts per second of `classify` beside transformers' text-classification pipeline, with the same weights.

    python benchmarks/classify_throughput.py [--threads 1 2] [--blocks 5] [--write]

The file has 10,000 different lines: the SMS Spam Collection, then sentences of film reviews, both from the folder
TINYGRAD_GPT_DATA. The pipeline gets its texts sorted by length, with batches of 8 and 32; this package gets them
unsorted, and sorts them itself. A block is some batches of neighbours in the sorted file, taken evenly from it, so that
a batch needs as little padding as in the whole file. The time is from texts to answers, tokens included. Models: the
shipped spam filter; random weights of the sizes of MiniLM, whose vocabulary is in the same folder, and of GPT-2 124M.
Each is exported to transformers' format for the pipeline.
"""

import os
import random
import tempfile
from pathlib import Path

from common import REPOSITORY, Against, Benchmark, Case

GOAL = 1 / 3
LINES, NEIGHBOURS = 10_000, 32
LABELS = "ham", "spam"


def data_folder():
    return Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))


def file_lines():
    """The 10,000 lines, or made-up ones where the data are not there."""
    from tinygrad_gpt.data.classification import read_labelled

    messages = data_folder() / "spam" / "SMSSpamCollection"
    reviews = data_folder() / "classify" / "rt_polarity"
    if not messages.exists() or not reviews.exists():
        return [f"see you at {i}, bring the {'cat ' * (i % 30)}" for i in range(LINES)]
    texts = read_labelled(messages).texts
    for file in sorted(reviews.glob("rt-polarity.*")):
        texts += [line for line in file.read_text(encoding="latin-1").splitlines() if line.strip()]
    return list(dict.fromkeys(texts))[:LINES]


def block_texts(batch):
    """``batch`` batches of neighbours in the sorted file, sorted."""
    lines = sorted(file_lines(), key=len)
    step = len(lines) // batch
    return [text for i in range(batch) for text in lines[i * step + step // 2:][:NEIGHBOURS]]


def saved_model(which, sizes):
    """The model of a case, with GPT-2's or BERT's vocabulary; GPT-2's where there is none of BERT."""
    from tinygrad_gpt.models.bert import Bert, BertConfig
    from tinygrad_gpt.models.bert_classifier import BertClassifier
    from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
    from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
    from tinygrad_gpt.runs.saved_model import SavedModel, load_model
    from tinygrad_gpt.text import get_encoding, read_tokenizer

    if which == "shipped":
        return load_model("sms-spam")
    if which == "encoder" and (folder := data_folder() / "models" / "minilm").exists():
        tokenizer, width = read_tokenizer(folder), sizes["n_embd"]
        encoder = Bert(BertConfig(tokenizer.vocab_size, n_inner=4 * width, **sizes))
        model = BertClassifier(encoder, 2, reading=Reading("first", causal=False))
    else:
        tokenizer = get_encoding("gpt2")
        model = GPT2Classifier(GPT2(GPT2Config(tokenizer.vocab_size, **sizes)), 2, reading=Reading(start=False))
    return SavedModel(model.eval(), tokenizer, LABELS, {})


def our_block(which, batch, **sizes):
    from tinygrad_gpt.recipes.classification.classify import classify

    saved, texts = saved_model(which, sizes), block_texts(batch)
    random.Random(0).shuffle(texts)
    classify(saved, texts[:2])

    def block():
        assert len(classify(saved, texts)) == len(texts)
        return len(texts)

    return block


def pipeline_block(batch_size, which, batch, **sizes):
    import torch
    import transformers

    from tinygrad_gpt.recipes.export import export

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    transformers.logging.set_verbosity_error()
    saved, texts = saved_model(which, sizes), block_texts(batch)
    with tempfile.TemporaryDirectory() as folder:
        export(saved, Path(folder) / "model")
        pipe = transformers.pipeline("text-classification", model=str(Path(folder) / "model"), device="cpu")
    if pipe.tokenizer.pad_token is None:
        pipe.tokenizer.pad_token = pipe.tokenizer.eos_token
        pipe.model.config.pad_token_id = pipe.tokenizer.eos_token_id
    settings = {"batch_size": batch_size, "truncation": True, "max_length": saved.classifier.context}
    pipe(texts[:2], **settings)

    def block():
        assert len(pipe(texts, **settings)) == len(texts)
        return len(texts)

    return block


def pipeline_of(batch_size):
    """The worker with batches of that many texts."""
    return lambda **settings: pipeline_block(batch_size, **settings)


def case(name, which, batch, batch_sizes, **sizes):
    return Case(name, {"which": which, "batch": batch, **sizes}, tuple(
        Against(GOAL, f"torch, {size}", note=f"pipeline, batches of {size}") for size in batch_sizes))


BENCHMARK = Benchmark(
    "Classifying texts", __file__,
    {"ours": our_block, **{f"torch, {size}": pipeline_of(size) for size in (8, 32)}},
    [case("a line, the shipped filter (8 blocks of width 192)", "shipped", 20, (8, 32)),
     case("a line, MiniLM (6 blocks of width 384)", "encoder", 10, (8,), n_layer=6, n_head=12, n_embd=384),
     case("a line, GPT-2 124M", "gpt2", 8, (8,), n_layer=12, n_head=12, n_embd=768)],
    f"Milliseconds for a line of a file of {LINES:,}, from text to answer, float32: 1,000 divided by them are lines "
    "per second. The rival is transformers' pipeline on the same weights, which gets the lines sorted by length.")

if __name__ == "__main__":
    BENCHMARK.main()
