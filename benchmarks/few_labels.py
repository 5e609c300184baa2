r"""What few labelled texts are worth: a finetuned model, a bag of words, and a regression on the base's frozen vectors.

    python benchmarks/few_labels.py --data rt.tsv --text-column 1 --label-column 2 --base minilm --out runs/few
    python benchmarks/few_labels.py --data rt.tsv --text-column 1 --label-column 2 --base storyteller --out runs/gpt \
        --set read=mean --set no_causal_mask=true --set lm_weight=0.0 --set lr=1e-3 --pretrain-epochs 5 --unlabelled
    python benchmarks/few_labels.py --data rt.tsv --text-column 1 --label-column 2 --base storyteller --out runs/two \
        --teacher-base minilm --sizes 500,3000 --pretrain-epochs 2 --unlabelled

For each of five draws the texts are divided (20 % test, no text in two parts), and 100, 500 and 3,000 of the others
are drawn, the smaller numbers among the larger. Of a number of labelled texts 90 % are trained on and 10 % validate,
the same for all three; the test texts are judged once. With --unlabelled the base is pretrained on all other texts of
the file but the test texts, without labels. With --teacher-base another model is finetuned on the same labelled texts
first, with its defaults; it and the bag of words are the teachers of the model, on those other texts too. The folder
keeps every finished piece: the same command goes on where it was stopped.

Frozen vectors are the mean hidden states of a text; scikit-learn's logistic regression learns from them, standardised,
with the C of 0.001 to 10 that is best on the validation texts.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from pieces import Results, command_line, config_of, finetuned, markdown, taught, with_interval, with_typed

from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.data.batches import length_batches, pad, truncate
from tinygrad_gpt.data.classification import LabelledTexts, read_labelled, split_by_text, split_for_test
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.files import sha256_of
from tinygrad_gpt.recipes.classification.classify import encode_texts
from tinygrad_gpt.recipes.classification.config import BAG_OF_WORDS
from tinygrad_gpt.runs.saved_model import SavedModel, load_model

STEPS = 300  # of finetuning, as nearly as 3 to 20 epochs allow
METHODS = {"model": "finetuned", "bag_of_words": "bag of words", "frozen": "frozen vectors", "teacher": "teacher"}


def draw_texts(data: LabelledTexts, draw: int, test_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the texts to label, in the order in which they are drawn, and of the test texts."""
    split = split_by_text(data, seed=draw)
    generator = np.random.default_rng(draw)
    pool = generator.permutation(np.concatenate([split.train, split.validation]))
    return pool, np.sort(generator.permutation(split.test)[:test_texts])


def write_files(data: LabelledTexts, folder: Path, labelled, test, others) -> dict[str, str]:
    """The files of a run, by the names of their settings."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.jsonl" for name in ("labelled", "test", "unlabelled")}
    for (name, file), rows in zip(files.items(), (labelled, test, others), strict=True):
        lines = [{"text": data.texts[i]} | ({} if name == "unlabelled" else {"label": data.classes[data.labels[i]]})
                 for i in rows]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return {"data" if name == "labelled" else name: str(file) for name, file in files.items()}


def epochs_for(size: int, batch_size: int) -> int:
    """Epochs with 300 steps, as nearly as 3 to 20 epochs allow."""
    return min(20, max(3, round(STEPS / max(1, 0.9 * size / batch_size))))


def measure_model(options, data: LabelledTexts, size: int, draw: int) -> dict:
    """Figures of the finetuned model and of the bag of words on the same texts."""
    pool, test = draw_texts(data, draw, options.test_texts)
    folder = options.out / f"{size}-{draw}"
    files = write_files(data, folder, pool[:size], test, pool[size:])
    if not (options.unlabelled and len(pool) > size):
        del files["unlabelled"]
    config = replace(config_of(options, seed=draw, split_seed=draw), text_column="text", label_column="label",
                     epochs=epochs_for(size, 16))
    teachers = [BAG_OF_WORDS] if options.teacher_base else []
    config = with_typed(replace(config, **files, pretrain_epochs=options.pretrain_epochs, teachers=teachers), options)
    if teachers:
        report = taught(config, options.teacher_base, folder / "run", epochs_for(size, 16))
    else:
        report = finetuned(config, folder / "run")
    parts = {"model": "test", "bag_of_words": "baseline"} | ({"teacher": "teacher"} if teachers else {})
    return {f"{name} {figure}": report[part][figure] for name, part in parts.items()
            for figure in ("accuracy", "f1", "calibration_error")}


def mean_states(saved: SavedModel, texts: list[str]) -> np.ndarray:
    """The mean of the last hidden states of each text, (N, C) float32."""
    model = saved.model.eval()
    encoder = not hasattr(model, "ln_f")
    tokens = truncate(encode_texts(saved.tokenizer, texts, None)[0], saved.n_ctx)[0]
    vectors = np.empty((len(texts), model.config.n_embd), np.float32)
    lengths = np.array([len(ids) for ids in tokens])
    with no_grad():
        for rows in length_batches(lengths, 32, seed=0, epoch=0, shuffle=False):
            ids, ends = pad([tokens[i] for i in rows], saved.tokenizer.eot_id)
            real = np.arange(ids.shape[1]) < ends[:, None]  # (B, T)
            on_device = default_backend().from_numpy
            x = model(on_device(ids), on_device(real)) if encoder else model.ln_f(model.hidden(on_device(ids)))
            vectors[rows] = (x.numpy() * real[..., None]).sum(axis=1) / ends[:, None]
    return vectors


def measure_frozen(options, data: LabelledTexts, vectors: np.ndarray, size: int, draw: int) -> dict:
    """Figures of a logistic regression on frozen vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pool, test = draw_texts(data, draw, options.test_texts)
    drawn = replace(data, texts=[data.texts[i] for i in pool[:size]], labels=data.labels[pool[:size]])
    judged = replace(data, texts=[data.texts[i] for i in test], labels=data.labels[test])
    split = split_for_test(drawn, judged, seed=draw)[1]
    train, validation = (pool[part] for part in (split.train, split.validation))
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=3000)).fit(vectors[train],
                                                                                         data.labels[train])
              for C in (0.001, 0.01, 0.1, 1.0, 10.0)]
    best = max(models, key=lambda model: model.score(vectors[validation], data.labels[validation]))
    predicted, labels = best.predict(vectors[test]), data.labels[test]
    if len(data.classes) == 2:
        f1 = f1_score(labels, predicted, pos_label=int(np.bincount(labels).argmin()))
    else:
        f1 = f1_score(labels, predicted, average="macro")
    return {"frozen accuracy": float((predicted == labels).mean()), "frozen f1": float(f1)}


def all_vectors(options, data: LabelledTexts) -> np.ndarray:
    """Frozen vectors of all texts of the file, computed once."""
    file = options.out / f"vectors-{Path(options.base).name}-{sha256_of(options.data)[:12]}.npy"
    if not file.exists():
        np.save(file, mean_states(load_model(options.base), data.texts))
    return np.load(file)


def measure(options) -> dict[int, list[dict]]:
    """The figures of each draw, by the number of labelled texts."""
    results = Results(options.out)
    data = read_labelled(options.data, options.text_column, options.label_column, encoding=options.encoding)
    same = {"base": str(options.base), "data": str(options.data), "test_texts": options.test_texts}
    settings = same | {"set": sorted(options.set), "unlabelled": options.unlabelled,
                       "pretrain_epochs": options.pretrain_epochs}
    if options.teacher_base:
        settings["teacher"] = str(options.teacher_base)
    vectors = all_vectors(options, data)
    figures: dict[int, list[dict]] = {size: [] for size in options.sizes}
    for draw in range(options.draws):  # the first draw of every size before the second of any
        for size in options.sizes:
            frozen = results.get(lambda: measure_frozen(options, data, vectors, size, draw),  # noqa: B023
                                 method="frozen", size=size, draw=draw, **same)
            found = results.get(lambda: measure_model(options, data, size, draw),  # noqa: B023
                                method="model", size=size, draw=draw, **settings)
            figures[size].append({**frozen, **found})
            (options.out / "report.md").write_text(table(figures) + "\n", encoding="utf-8")
    return figures


def table(figures: dict[int, list[dict]]) -> str:
    """A row for each number of labelled texts."""
    methods = {method: name for method, name in METHODS.items()
               if any(f"{method} accuracy" in draw for draws in figures.values() for draw in draws)}
    rows = [("labelled texts", "draws", *(f"{name}: accuracy, %" for name in methods.values()),
             "finetuned − bag of words", *(f"{name}: F1, %" for name in methods.values()))]
    for size, draws in figures.items():
        if draws:
            accuracy, f1 = ([[draw[f"{method} {figure}"] for draw in draws] for method in methods]
                            for figure in ("accuracy", "f1"))
            gain = [a - b for a, b in zip(*accuracy[:2], strict=True)]
            rows.append((f"{size:,}", str(len(draws)), *map(with_interval, accuracy), with_interval(gain, signed=True),
                         *map(with_interval, f1)))
    return f"{markdown(rows)}\n\nMeans over draws with 95 % intervals by Student's t."


def main(arguments: list[str] | None = None) -> None:
    parser = command_line(__doc__)
    parser.add_argument("--sizes", default="100,500,3000", help="numbers of labelled texts")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--test-texts", type=int, default=2000, help="test texts of a draw, at most")
    parser.add_argument("--pretrain-epochs", type=int, default=0, help="passes of further pretraining")
    parser.add_argument("--teacher-base", metavar="MODEL", help="what a teacher is finetuned from in each draw")
    parser.add_argument("--unlabelled", action="store_true", help="pretrain on the unlabelled texts of the file too")
    options = parser.parse_args(arguments)
    options.sizes = [int(size) for size in options.sizes.split(",")]
    print(table(measure(options)))


if __name__ == "__main__":
    main()
