"""The two losses of a classifier, beside PyTorch's, and a run with several labels."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tiny

from tinygrad_gpt import ops
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.recipes.classification.attribution import attribute
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.evaluate import evaluate, label_options
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.objectives import ONE_CLASS, SeveralLabels, objective_of
from tinygrad_gpt.recipes.export import export
from tinygrad_gpt.recipes.text_step import text_step
from tinygrad_gpt.runs.saved_model import load_model, packed, save_model, unpacked

SCORES = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
SEVERAL = (np.random.default_rng(1).random((7, 3)) < 0.4).astype(np.float32)
ONE = np.array([0, 2, 1, 1, 0, 2, 2])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [ONE, SEVERAL], ids=["one", "several"])
def test_losses_and_gradients_are_those_of_pytorch(labels, weighted):
    torch = pytest.importorskip("torch", reason="the extra `oracle` is not installed")
    functional = torch.nn.functional
    objective = objective_of(labels)
    weights = objective.weights(labels) if weighted else None
    scores = Tensor(SCORES.copy(), requires_grad=True)
    loss = objective.loss(scores, labels, weights, lambda array: array)
    loss.backward()
    theirs, target = torch.tensor(SCORES, requires_grad=True), torch.from_numpy(labels)
    taken = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    if labels.ndim == 1:
        expected = functional.cross_entropy(theirs, target, taken, reduction="none").mean()
    else:
        expected = functional.binary_cross_entropy_with_logits(
            theirs, target, pos_weight=taken, reduction="none").sum(dim=1).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(scores.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, 1.0])])
def test_a_teachers_probabilities_take_the_place_of_classes(weights):
    torch = pytest.importorskip("torch", reason="the extra `oracle` is not installed")
    wanted = np.random.default_rng(2).dirichlet([1, 1, 1], size=7).astype(np.float32)
    scores = Tensor(SCORES.copy(), requires_grad=True)
    loss = ONE_CLASS.loss(scores, wanted, weights, lambda array: array)
    loss.backward()
    theirs = torch.tensor(SCORES, requires_grad=True)
    taken = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    expected = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(wanted), taken, reduction="none").mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(scores.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-6)
    if weights is None:
        np.testing.assert_allclose(scores.grad.numpy() * 7, ops.softmax(Tensor(SCORES)).numpy() - wanted, atol=1e-6)


def test_probabilities_of_one_have_the_loss_of_the_class():
    weights = ONE_CLASS.weights(ONE)
    for taken in (None, weights):
        both = [ONE_CLASS.loss(Tensor(SCORES), labels, taken, lambda array: array).item()
                for labels in (ONE, np.eye(3, dtype=np.float32)[ONE])]
        assert both[0] == pytest.approx(both[1], rel=1e-6)


def test_weights_make_labels_count_alike():
    weights = SeveralLabels().weights(SEVERAL)
    have = SEVERAL.sum(axis=0)
    np.testing.assert_allclose(weights * have, len(SEVERAL) - have)
    counts = np.bincount(ONE)
    np.testing.assert_allclose(ONE_CLASS.weights(ONE) * counts, np.full(3, len(ONE) / 3))
    np.testing.assert_allclose(ONE_CLASS.weights(np.array([0, 0, 0, 1, 2, 2])), [2 / 3, 2, 1])


def test_probabilities_and_what_is_chosen_on_validation_texts():
    np.testing.assert_allclose(ONE_CLASS.probabilities(Tensor(SCORES)).numpy().sum(axis=1), 1, rtol=1e-5)
    probabilities = SeveralLabels().probabilities(Tensor(SCORES)).numpy()
    np.testing.assert_allclose(probabilities, ops.sigmoid(Tensor(SCORES)).numpy())
    assert ONE_CLASS.fitted(probabilities, ONE).thresholds == ()
    fitted = SeveralLabels().fitted(probabilities, SEVERAL)
    assert len(fitted.thresholds) == 3
    before, after = (judge.judge(probabilities, SEVERAL, "abc").f1 for judge in (SeveralLabels(), fitted))
    assert after >= before


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on texts that are about one or two subjects of three, or none."""
    folder = tmp_path_factory.mktemp("several")
    words, rows = {**tiny.WORDS, "": ["and", "so", "it", "is"]}, []
    pairs = itertools.cycle(itertools.combinations_with_replacement(words, 2))
    for i, (a, b) in enumerate(itertools.islice(pairs, 140)):
        text = f"{words[a][i % 4]} {words[b][(i // 4) % 4]} {words[a][(i // 2) % 4]} {i}"
        rows.append(f"{text}," + ",".join(str(int(name in (a, b))) for name in tiny.WORDS))
    data = folder / "mail.csv"
    data.write_text("text," + ",".join(tiny.WORDS) + "\n" + "\n".join(rows) + "\n")
    config = FinetuneConfig(str(data), label_column=tuple(tiny.WORDS), base="random", vocab_size=300, n_ctx=16,
                            n_embd=24, n_layer=1, n_head=2, epochs=25, lr=1e-2, dropout=0.0, lm_weight=0.0,
                            save_every=1000)
    return data, finetune_classifier(config, folder / "run"), folder / "run"


def test_several_labels_are_learned_and_judged(run):
    data, result, folder = run
    assert result.test.f1 > 0.85
    assert len(result.saved.thresholds) == len(tiny.WORDS)
    assert result.baseline is None or result.baseline.f1 > 0.5
    assert not (folder / "confusion.png").exists()
    loaded = load_model(folder)
    assert (loaded.thresholds, loaded.labels) == (result.saved.thresholds, tuple(tiny.WORDS))
    labelled = read_labelled(data, **label_options(loaded))
    found = evaluate(loaded, labelled, "test")
    assert found.report.f1 == pytest.approx(result.test.f1)
    assert found.report.classes[0].threshold == loaded.thresholds[0]
    whole = evaluate(loaded, labelled)
    wrong = round((1 - whole.report.accuracy) * whole.report.count)
    assert len(whole.mistakes) == wrong
    assert sorted((m.probability for m in whole.mistakes), reverse=True) == [m.probability for m in whole.mistakes]


def test_answers_have_all_labels_over_their_thresholds(run):
    data, result, _ = run
    saved = result.saved
    answers = classify(saved, read_labelled(data, label_column=tuple(tiny.WORDS)).texts)
    assert {len(answer.labels) for answer in answers} >= {0, 1, 2}
    assert {answer.label for answer in answers} >= {"", "code", "code; snow"}
    for answer in answers:
        assert answer.labels == tuple(name for name, p, least in zip(
            saved.labels, answer.probabilities.values(), saved.thresholds, strict=True) if p >= least)
        assert answer.cells() == (answer.text, answer.label, *answer.probabilities.values())


def test_other_data_and_other_uses_are_refused(run, tmp_path):
    data, result, _ = run
    one = read_labelled(tiny.labelled_file(tmp_path / "one.csv"))
    with pytest.raises(DataError, match="with this model a text has any number of labels"):
        evaluate(result.saved, one)
    with pytest.raises(DataError, match="with this model a text has one class"):
        evaluate(tiny.classifier(), read_labelled(data, label_column=tuple(tiny.WORDS)))
    with pytest.raises(UsageError, match="cannot export a classifier with several labels"):
        export(result.saved, tmp_path / "out")
    with pytest.raises(UsageError, match="is for texts of one class"):
        FinetuneConfig("a.csv", split="book", label_separator=";")
    with pytest.raises(UsageError, match="label_separator is empty"):
        FinetuneConfig("a.csv", label_separator="")


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.5, 2.0], [0.5, 0.5, "x"], 0.5, [0.5, 0.5, float("nan")]])
def test_odd_thresholds_of_a_file_are_refused(thresholds):
    tensors, metadata = packed(replace(tiny.classifier(), thresholds=(0.5, 0.4, 0.3)))
    assert unpacked(tensors, metadata, "a").thresholds == (0.5, 0.4, 0.3)
    with pytest.raises(CheckpointError, match="expected a number from 0 to 1 for each label"):
        unpacked(tensors, {**metadata, "thresholds": thresholds}, "a")


def test_a_model_with_one_class_has_no_thresholds(tmp_path):
    save_model(tmp_path / "a.h5", tiny.classifier())
    assert load_model(tmp_path / "a.h5").thresholds == ()


def test_views_of_one_class_refuse_several_labels():
    saved = replace(tiny.classifier(), thresholds=(0.5, 0.5, 0.5))
    for view in (lambda: attribute(saved, "ski", "snow"), lambda: text_step(saved, "ski")):
        with pytest.raises(UsageError, match="several labels"):
            view()
