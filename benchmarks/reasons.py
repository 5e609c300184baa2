"""How well the two explanations of a label agree with leaving words out: rank correlation on held-back messages.

    python benchmarks/reasons.py [--texts 200] [--write]

For each message the parts of its tokens, by integrated gradients and by gradient × input, are ranked beside what the
score of the label loses when that token is left out (Spearman's ρ). --write puts the table into
docs/shipped-classifier.md.
"""

import argparse
import os
from pathlib import Path
from time import perf_counter

import numpy as np
from common import REPOSITORY, machine, table, write_section

SHORTEST = 5  # tokens; a rank correlation of fewer says little
DRAWS = 2_000  # of the bootstrap


def measure(n_texts: int) -> tuple[list[tuple[str, ...]], str]:
    """Rows of the table, and a sentence on the sums of the parts."""
    from scipy.stats import spearmanr

    from tinygrad_gpt.data.classification import read_labelled, split_by_text
    from tinygrad_gpt.recipes.classification.attribution import attribute, left_out_scores
    from tinygrad_gpt.recipes.classification.classify import classify
    from tinygrad_gpt.runs.saved_model import load_model

    saved = load_model("sms-spam")
    shared = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    data = read_labelled(str(shared / "spam" / "SMSSpamCollection"))
    held_back = split_by_text(data, seed=saved.provenance["config"]["split_seed"]).test
    order = np.random.default_rng(0).permutation(held_back)
    found, gaps, seconds = {"integrated": [], "gradient_input": []}, [], []
    for answer in classify(saved, [data.texts[row] for row in order]):
        if len(gaps) == n_texts:
            break
        started = perf_counter()
        reason = attribute(saved, answer.text, answer.label)
        seconds.append(perf_counter() - started)
        lost = left_out_scores(saved, answer.text, answer.label)
        if len(lost) != len(reason.parts) or len(lost) < SHORTEST:
            continue  # a character of several tokens has no rank of its own
        gaps.append(reason.gap)
        for name, values in found.items():
            values.append(spearmanr([getattr(part, name) for part in reason.parts], lost).statistic)
    names = {"integrated": "integrated gradients", "gradient_input": "gradient × input"}
    rows = [(names[name], f"{np.mean(values):.2f}", interval(values), f"{np.median(values):.2f}")
            for name, values in found.items()]
    return rows, (f"{len(gaps)} held-back messages of at least {SHORTEST} tokens. The parts miss the difference of the "
                  f"two scores by at most {max(gaps):.1e}. One explanation takes {1000 * np.median(seconds):.0f} ms.")


def interval(values: list[float]) -> str:
    """95 % of the means of samples drawn with replacement."""
    draws = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{low:.2f} to {high:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, sentence = measure(options.texts)
    text = "\n\n".join([
        "`python cli.py classify --explain` shares the log-odds of the label among the words of a text, by integrated "
        "gradients from a text of mean embeddings; `--json` has gradient × input beside it. How far the shares agree "
        "with leaving one token out:",
        f"`benchmarks/reasons.py`, {machine()}",
        table(("shares by", "mean rank correlation", "95 % interval", "median"), rows), sentence])
    print(text)
    if options.write:
        write_section("Why a message got its label", text, REPOSITORY / "docs" / "shipped-classifier.md")


if __name__ == "__main__":
    main()
