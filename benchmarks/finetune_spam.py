"""Finetune a GPT-2 of 124M parameters on the book's spam split as the book does it: in torch, and with this package.

    python benchmarks/finetune_spam.py [--epochs 5] [--texts 1045] [--steps 20] [--write]

Both start from the same random weights and take the same texts in the same batches: last block, final norm and head
trained, AdamW at 5e-5, batches of 8, a look at 5 batches of the training and the validation part every 50 steps, and
after each epoch, and at the end the accuracy on all parts. torch runs the book's model: every text padded to the
longest, every position and every block computed at every step. One thread, one after the other, a process each.
A second table says where the difference comes from: the seconds of the first steps (`--steps`), one change at a time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
SIZES = {"vocab_size": 50257, "n_layer": 12, "n_embd": 768, "n_head": 12, "n_ctx": 1024}
SEED, BATCH, LR, DECAY, LOOK_EVERY, LOOK_BATCHES = 123, 8, 5e-5, 0.1, 50, 5
RUNS = {  # name -> what it is called in the tables
    "torch": "torch, as in the book",
    "engine": "this package, the same work",
    "dynamic": "… padded to the longest of a batch, read at the last real token",
    "pruned": "… the last block only where it is read, without keys and values",
    "cached": "… the frozen blocks once for each text, before the first step",
}


def write_task(file, epochs, n_texts):
    """The book's split, its first texts, and the order in which its loop takes them, for processes of both kinds."""
    from tinygrad_gpt.book.batches import book_batches
    from tinygrad_gpt.book.splits import book_split
    from tinygrad_gpt.data.batches import pad
    from tinygrad_gpt.data.classification import read_labelled
    from tinygrad_gpt.text import Tokenizer

    shared = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    labelled = read_labelled(str(shared / "spam" / "SMSSpamCollection"), quotes=True)
    split = book_split(labelled)
    tokenizer = Tokenizer.from_pretrained(shared / "gpt2")
    parts = [part[:max(BATCH, round(len(part) * n_texts / len(split.train)))]
             for part in (split.train, split.validation, split.test)]
    texts = [tokenizer.encode(labelled.texts[row]) for part in parts for row in part]
    longest = max(map(len, texts[:len(parts[0])]))
    ids, lengths = pad([tokens[:longest] for tokens in texts], 50256, longest)
    order = book_batches(len(parts[0]), BATCH, seed=SEED, epochs=epochs)  # (epochs, steps, B)
    np.savez(file, ids=ids, lengths=lengths, labels=labelled.labels[np.concatenate(parts)], order=order,
             ends=np.cumsum([len(part) for part in parts]))


def read_task(task):
    """Ids of all texts, the numbers of the texts of each part, and the steps: their texts, and does an epoch end."""
    texts = [ids[:length].tolist() for ids, length in zip(task["ids"], task["lengths"], strict=True)]
    parts = np.split(np.arange(len(texts)), task["ends"][:-1])
    return texts, parts, [(parts[0][batch], number == len(epoch)) for epoch in task["order"]
                          for number, batch in enumerate(epoch, start=1)]


class Torch:
    """The book's model and its steps; nothing of this package is imported here, nor its settings of the allocator."""

    def __init__(self, texts, labels, longest, trained="last-block", device="cpu"):
        sys.path.append(str(REPOSITORY / "benchmarks"))
        import torch
        from torch_book import BookClassifier

        torch.set_num_threads(1)
        self.torch, self.labels = torch, torch.from_numpy(labels).to(device)
        self.model = BookClassifier(SimpleNamespace(**SIZES), 2, SEED).to(device)
        if trained == "all":
            self.model.requires_grad_()
        ids = np.array([[*text, *[50256] * (longest - len(text))] for text in texts])
        self.ids = torch.from_numpy(ids).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=DECAY)

    def prepare(self, rows):
        """Nothing is kept."""

    def loss(self, rows):
        return self.torch.nn.functional.cross_entropy(self.model(self.ids[rows])[:, -1], self.labels[rows])

    def step(self, rows):
        self.optimizer.zero_grad()
        loss = self.loss(rows)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def look(self, rows):
        with self.torch.no_grad():
            return self.loss(rows).item()

    def right(self, rows):
        with self.torch.no_grad():
            return int((self.model(self.ids[rows])[:, -1].argmax(dim=-1) == self.labels[rows]).sum())


class Ours:
    """The same with this package; ``which`` of `RUNS` says what is left undone."""

    def __init__(self, texts, labels, longest, which, trained="last-block"):
        from tinygrad_gpt import ops
        from tinygrad_gpt.book.initial_values import initial_values
        from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
        from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
        from tinygrad_gpt.optim import AdamW
        from tinygrad_gpt.random import TorchStream
        from tinygrad_gpt.recipes.classification.inputs import Texts, inputs_of
        from tinygrad_gpt.recipes.classification.starting_model import set_trained

        class Whole(Texts):
            """Every block at every position."""

            def logits(self, rows):
                x, lengths = self.batch(rows)
                h = self.model.transformer.ln_f(self.model.whole_blocks(x, lengths))
                return self.model.score(self.model.pooled(h, lengths))

        config = GPT2Config(**SIZES)
        base = GPT2(config, seed=None)
        base.load_state_dict(initial_values(TorchStream(SEED), vocab_size=config.vocab_size, n_ctx=config.n_ctx,
                                       n_embd=config.n_embd, n_layer=config.n_layer, qkv_bias=True, tied_head=True))
        fixed = which == "engine"
        reading = Reading("last" if fixed else "last-real", context=longest, filled=fixed, pad_id=50256, start=False)
        self.model = GPT2Classifier(base, 2, reading=reading)
        weight, bias = TorchStream(SEED).linear(config.n_embd, 2)
        self.model.score.load_state_dict({"weight": weight.T, "bias": bias})
        set_trained(self.model, trained)
        feed = {"engine": Whole, "dynamic": Whole, "pruned": Texts,
                "cached": partial(inputs_of, rows=range(len(texts)))}[which]
        self.inputs, self.labels, self.cross_entropy = feed(self.model, texts), labels, ops.cross_entropy
        self.optimizer = AdamW(self.model.trainable(), LR, weight_decay=DECAY, decayed_axes=2)

    def prepare(self, rows):
        self.inputs.prepare(rows)

    def loss(self, rows):
        return self.cross_entropy(self.inputs.logits(rows), self.inputs.on_device(self.labels[rows]))

    def step(self, rows):
        self.optimizer.zero_grad()
        loss = self.loss(rows)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def look(self, rows):
        from tinygrad_gpt import no_grad

        with no_grad():
            return self.loss(rows).item()

    def right(self, rows):
        from tinygrad_gpt import no_grad

        with no_grad():
            return int((self.inputs.logits(rows).numpy().argmax(axis=-1) == self.labels[rows]).sum())


def work(which, file, first_steps, whole):
    """One run, in a process of its own: prints its figures as a line of JSON."""
    sys.path.insert(0, str(REPOSITORY))
    from common import peak_mib

    task = np.load(file)
    texts, parts, steps = read_task(task)
    runner = (Torch if which == "torch" else partial(Ours, which=which))(texts, task["labels"], task["ids"].shape[1])
    steps = steps if whole else steps[:first_steps]
    print(json.dumps(procedure(runner, parts, steps, first_steps, whole) | {
        "longest": task["ids"].shape[1], "mib": peak_mib()}), flush=True)


def procedure(runner, parts, steps, first_steps, whole):
    """Run the book's training loop and return its figures.

    Args:
        runner: a `Torch` or an `Ours`.
        parts: numbers of the training, the validation and the test texts.
        steps: pairs of the texts of a step and whether an epoch ends with it.
        first_steps: how many are summarised as "first".
        whole: whether the evaluations and the accuracies at the end are computed as well.
    """
    started, cpu, in_steps, cpu_in_steps, losses = time.perf_counter(), time.process_time(), [], [], []
    runner.prepare(np.concatenate(parts))
    prepared = time.perf_counter() - started
    for step, (rows, epoch_ends) in enumerate(steps):
        before, cpu_before = time.perf_counter(), time.process_time()
        losses.append(runner.step(rows))
        in_steps.append(time.perf_counter() - before)
        cpu_in_steps.append(time.process_time() - cpu_before)
        if whole and (step % LOOK_EVERY == 0 or epoch_ends):  # losses every 50 steps, accuracies after each epoch
            look = runner.right if epoch_ends else runner.look
            for part in parts[:2]:
                for i in range(0, min(LOOK_BATCHES * BATCH, len(part)), BATCH):
                    look(part[i:i + BATCH])
    accuracy = [sum(runner.right(part[i:i + BATCH]) for i in range(0, len(part), BATCH)) / len(part)
                for part in parts] if whole else []
    ends = [0, *(number for number, (_, epoch_ends) in enumerate(steps, start=1) if epoch_ends)]
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "steps": len(steps),
            "prepared": prepared, "first": median(in_steps[:first_steps]),
            "first_cpu": median(cpu_in_steps[:first_steps]), "accuracy": accuracy,
            "epochs": [sum(in_steps[start:end]) for start, end in pairwise(ends)],
            "first_loss": losses[0], "last_loss": losses[-1]}


def warm_procedure(make, parts, steps, sizes):
    """`procedure` with what ``make()`` gives, after a short one on a model of two blocks: nothing is compiled or loaded
    while the clock runs.

    Args:
        make: gives a `Torch` or an `Ours` of the sizes in `SIZES`.
        parts, steps: as in `procedure`.
        sizes: to be put into `SIZES`.
    """
    SIZES.update(sizes | {"n_layer": 2})
    procedure(make(), [part[:BATCH] for part in parts], steps[:2], 2, True)
    SIZES.update(sizes)
    return procedure(make(), parts, steps, len(steps), True)


def measure(which, options, whole):
    from common import environment

    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.npz"
        write_task(file, options.epochs, options.texts)
        done = subprocess.run([sys.executable, __file__, "--worker", which, "--task", str(file), "--steps",
                               str(options.steps), *(["--whole"] if whole else [])],
                              env=environment(1), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def report(options):
    from common import machine, table

    wholes = {which: measure(which, options, True) for which in ("torch", "cached")}
    parts = {which: wholes[which] if which in wholes else measure(which, options, False) for which in RUNS}
    torch, ours = wholes["torch"], wholes["cached"]
    header = ["whole run", "seconds", "of the processor", "before step 1", "first epoch", "last epoch", "training %",
              "validation %", "test %", "MiB"]
    rows = [[name, *(f"{run[key]:.1f}" for key in ("seconds", "cpu", "prepared")),
             *(f"{run['epochs'][i]:.1f}" for i in (0, -1)), *(f"{100 * a:.2f}" for a in run["accuracy"]),
             f"{run['mib']:.0f}"]
            for name, run in ((RUNS["torch"], torch), ("this package", ours))]
    whole = table(header, rows)
    n = min(options.steps, torch["steps"])
    first = table([f"the first {n} steps", "seconds a step, median", "of the processor", "loss at step 1"],
                  [[RUNS[which], f"{run['first']:.3f}", f"{run['first_cpu']:.3f}", f"{run['first_loss']:.4f}"]
                   for which, run in parts.items()])
    return (f"`benchmarks/finetune_spam.py --epochs {options.epochs} --texts {options.texts} --steps {options.steps}`, "
            f"{machine()}\n\n{whole}\n\n{torch['seconds'] / ours['seconds']:.1f} times as fast, all in all: "
            f"{torch['steps']} steps, the looks in between and the accuracies at the end. Texts of up to "
            f"{torch['longest']} tokens. One thread; an epoch's seconds are those of its training steps.\n\n{first}\n\n"
            "Each line adds to the one above.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1045, help="training texts; the other parts shrink with them")
    parser.add_argument("--steps", type=int, default=20, help="steps of the second table")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--worker", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.task, options.steps, options.whole)
    from common import kind, write_section

    text = report(options)
    print(text)
    if options.write:
        write_section("Finetuning for classification", text, of=kind())
    return None


if __name__ == "__main__":
    main()
