"""What each choice of the finetuning recipe gains, on validation texts alone.

    python benchmarks/recipe.py --data rt.tsv --text-column 1 --label-column 2 --set epochs=3 --out runs/gains

For each of five split seeds the baseline, which --set describes, is trained, and the baseline with one choice more.
Both are judged on the validation part; no test text is read by a model. A choice that the base cannot have is left out.
The folder keeps every finished run: the same command goes on where it was stopped.
"""

import shutil
from dataclasses import replace

from pieces import Results, command_line, config_of, interval, markdown, percent, with_interval

from tinygrad_gpt.recipes.classification.finetune import validate_setting
from tinygrad_gpt.runs.saved_model import is_encoder

CHOICES: dict[str, dict] = {
    "further pretraining, 5 epochs": {"pretrain_epochs": 5},
    "layer decay 0.8": {"layer_decay": 0.8},
    "weights averaged over the last 2 epochs": {"average": 2},
    "hidden tokens, 10 %": {"hide": 0.1},
    "head dropout 0.2": {"head_dropout": 0.2},
    "last, mean and maximum of the hidden states": {"read": "concat"},
    "layers thaw in the first 30 %": {"unfreeze": 0.3},
    "causal mask, and language-model loss of weight 0.5": {"lm_weight": 0.5, "no_causal_mask": False},
    "classes weighted alike": {"class_weights": "balanced"},
}
GPT_ONLY = {"lm_weight"}


def measure(options) -> dict[str, list[dict]]:
    """Validation figures of each choice, a list over the seeds; the baseline is the first."""
    results = Results(options.out)
    settings = {"base": str(options.base), "data": str(options.data), "set": sorted(options.set)}
    encoder = is_encoder(options.base)
    choices = {"baseline": {}, **{name: changes for name, changes in CHOICES.items()
                                  if not (encoder and GPT_ONLY & changes.keys())}}
    wanted = [name for name in choices if not options.only or name == "baseline" or any(
        word in name for word in options.only.split(","))]

    def run(seed: int, choice: str) -> dict:
        folder = options.out / f"{seed}-{list(choices).index(choice)}"
        config = replace(config_of(options, split_seed=seed, seed=seed), **choices[choice])
        report = validate_setting(config, folder)
        shutil.rmtree(folder)
        return {"accuracy": report.accuracy, "f1": report.f1, "log_loss": report.log_loss, "count": report.count}

    found: dict[str, list[dict]] = {name: [] for name in wanted}
    for seed in options.seeds:
        for name in wanted:
            figures = results.get(lambda: run(seed, name), seed=seed, choice=name, **settings)  # noqa: B023
            found[name].append(figures)
            (options.out / "report.md").write_text(table(found) + "\n", encoding="utf-8")
    return found


def table(found: dict[str, list[dict]]) -> str:
    """A row for each choice: its accuracy, and by how much it is above the baseline of the same splits."""
    rows = [("choice", "splits", "validation accuracy, %", "gain, points", "F1, %", "log loss", "gain", "minutes")]
    baseline = found["baseline"]
    for name, splits in found.items():
        if splits:
            gains = [[a[figure] - b[figure] for a, b in zip(splits, baseline, strict=False)]
                     for figure in ("accuracy", "log_loss")]
            loss, (gain, half) = interval([split["log_loss"] for split in splits])[0], interval(gains[1])
            rows.append((name, str(len(splits)), percent(interval([split["accuracy"] for split in splits])[0]),
                         "" if name == "baseline" else with_interval(gains[0], signed=True),
                         percent(interval([split["f1"] for split in splits])[0]), f"{loss:.4f}",
                         "" if name == "baseline" else f"{gain:+.4f} ± {half:.4f}",
                         f"{interval([split['minutes'] for split in splits])[0]:.1f}"))
    return (f"{markdown(rows)}\n\nMeans over the splits; the gain is the mean difference to the baseline on the same "
            "split, with its 95 % interval by Student's t.")


def main(arguments: list[str] | None = None) -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", default="123,124,125,126,127", help="split seeds")
    parser.add_argument("--only", default="", help="measure the choices with one of these words, commas between")
    options = parser.parse_args(arguments)
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    print(table(measure(options)))


if __name__ == "__main__":
    main()
