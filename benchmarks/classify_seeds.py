"""A classifier and a bag of words on five splits of the same file.

    python benchmarks/classify_seeds.py --data SMSSpamCollection --base storyteller --set epochs=6 --out runs/seeds

For each split seed the texts are divided anew (70 % training, 10 % validation, 20 % test, no text in two parts), the
model is finetuned as `finetune classifier` does it with the defaults and what --set says, and both are judged on the
test part. With --teacher-base another model is finetuned on the same parts first, with its defaults in 4 epochs; it and
the bag of words are the teachers of the first, and its figures are printed as well. The folder keeps every finished
split: the same command goes on where it was stopped.
"""

from pathlib import Path

from pieces import Results, command_line, config_of, finetuned, markdown, percent, taught, with_interval

from tinygrad_gpt.recipes.classification.config import BAG_OF_WORDS

TEACHER_EPOCHS = 4


def measure(options) -> list[tuple[int, dict]]:
    """The report of each split."""
    results = Results(options.out)
    settings = {"base": str(options.base), "data": str(options.data), "set": sorted(options.set)}
    if options.teacher_base:
        settings["teacher"] = str(options.teacher_base)

    def run(seed: int) -> dict:
        folder, teachers = options.out / f"split-{seed}", [BAG_OF_WORDS] if options.teacher_base else []
        config = config_of(options, split_seed=seed, seed=seed, teachers=teachers)
        if options.teacher_base:
            return taught(config, options.teacher_base, folder, TEACHER_EPOCHS)
        return finetuned(config, folder)

    return [(seed, results.get(lambda seed=seed: run(seed), split=seed, **settings)) for seed in options.seeds]


def table(reports: list[tuple[int, dict]]) -> str:
    """A row for each split, and the means."""
    rows = [("split seed", "accuracy, %", "bag of words, %", "difference", "F1", "bag of words' F1", "difference")]
    columns: list[list[float]] = [[] for _ in range(6)]
    for seed, report in reports:
        test, other = report["test"], report["baseline"]
        figures = (test["accuracy"], other["accuracy"], test["accuracy"] - other["accuracy"],
                   test["f1"], other["f1"], test["f1"] - other["f1"])
        for column, figure in zip(columns, figures, strict=True):
            column.append(figure)
        rows.append((str(seed), percent(figures[0]), percent(figures[1]), f"{100 * figures[2]:+.2f}",
                     f"{figures[3]:.4f}", f"{figures[4]:.4f}", f"{figures[5]:+.4f}"))
    rows.append(("mean, 95 % interval", *(with_interval(column, signed=i % 3 == 2)
                                          for i, column in enumerate(columns))))
    wins = sum(difference >= 0 for difference in columns[2])
    teachers = ""
    if found := [report["teacher"] for _, report in reports if "teacher" in report]:
        accuracy, f1 = (with_interval([test[figure] for test in found]) for figure in ("accuracy", "f1"))
        teachers = f" The teacher: accuracy {accuracy} %. Its F1: {f1} %."
    return (f"{markdown(rows)}\n\nAt least the bag of words' accuracy on {wins} of {len(reports)} splits; the last row "
            f"is in per cent, F1 too, with Student's t over the splits.{teachers}")


def main(arguments: list[str] | None = None) -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", default="123,124,125,126,127", help="split seeds")
    parser.add_argument("--teacher-base", metavar="MODEL", help="what a teacher is finetuned from on each split")
    options = parser.parse_args(arguments)
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    text = table(measure(options))
    Path(options.out / "report.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
