"""`GPTClassifier`: scikit-learn's interface, with and without scikit-learn."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from tinygrad_gpt import GPTClassifier
from tinygrad_gpt.backend import backend_of, default_backend
from tinygrad_gpt.cli import main
from tinygrad_gpt.errors import BackendError, CheckpointError, DataError, UsageError
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.runs.saved_model import save_model

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTS, LABELS = (list(column) for column in zip(*tiny.texts(48), strict=True))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "base.h5"
    save_model(path, tiny.language_model())
    return str(path)


@pytest.fixture
def untrained(base):
    return GPTClassifier(base, train="last-block", epochs=4, lr=2e-2, batch_size=8, dropout=0.0, lm_weight=0.0)


@pytest.fixture(scope="module")
def fitted(base):
    return GPTClassifier(base, epochs=4, lr=1e-2, batch_size=8, dropout=0.0, lm_weight=0.0).fit(TEXTS, LABELS)


def test_it_learns_and_answers_in_arrays(fitted):
    assert fitted.classes_.tolist() == sorted(tiny.WORDS)
    probabilities = fitted.predict_proba(TEXTS)
    assert (probabilities.shape, probabilities.dtype) == ((48, 3), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    predicted = fitted.predict(TEXTS)
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    assert fitted.score(TEXTS, LABELS) == np.mean(predicted == np.array(LABELS)) > 0.9
    assert fitted.predict_proba([]).shape == (0, 3)


def test_texts_and_labels_may_be_arrays_and_labels_numbers(untrained, fitted):
    numbers = np.array([{"code": 7, "snow": -1, "sun": 3}[label] for label in LABELS])
    as_list, as_array = untrained.fit(TEXTS, list(numbers)).predict(TEXTS), copy.deepcopy(untrained)
    assert as_array.fit(np.array(TEXTS), numbers).predict(np.array(TEXTS, object)).tolist() == as_list.tolist()
    assert untrained.classes_.tolist() == [-1, 3, 7]
    assert untrained.predict(TEXTS).dtype.kind == "i"
    assert fitted.predict(iter(TEXTS)).tolist() == fitted.predict(TEXTS).tolist()


def test_the_same_seed_gives_the_same_model_whatever_was_trained_before(untrained):
    first = untrained.fit(TEXTS, LABELS).predict_proba(TEXTS)
    untrained.fit(TEXTS[:20], LABELS[:20])
    assert untrained.fit(TEXTS, LABELS).predict_proba(TEXTS).tobytes() == first.tobytes()
    assert untrained.set_params(seed=7).fit(TEXTS, LABELS).predict_proba(TEXTS).tobytes() != first.tobytes()


@pytest.mark.parametrize("change", [
    {"train": "lora", "rank": 2}, {"train": "head", "class_weights": "balanced"}, {"read": "mean", "context": "9"},
    {"read": "mean", "no_causal_mask": True, "lm_weight": 0.0, "hide": 0.2, "head_dropout": 0.1},
    {"layer_decay": 0.5, "unfreeze": 0.3, "average": 1},
    {"base": "random", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_ctx": 12, "vocab_size": 270},
], ids=str)
def test_settings_reach_the_run(change, untrained):
    model = untrained.set_params(**change, epochs=1).fit(TEXTS, LABELS)
    config = model.saved_.provenance["config"]
    assert {name: config[name] for name in change} == change
    assert model.predict_proba(TEXTS).shape == (48, 3)


def test_settings_are_those_of_finetuning_with_its_defaults():
    params = GPTClassifier().get_params()
    assert params.pop("backend") is None
    assert {name for name, value in params.items() if value is None} == {"read", "lr", "dropout", "lm_weight"}
    assert FinetuneConfig("x.csv", **params) == FinetuneConfig("x.csv")
    assert GPTClassifier(**params).set_params(lr=0.1).get_params(deep=False) == {
        **params, "lr": 0.1, "backend": None}


def test_a_setting_that_does_not_exist_changes_nothing(untrained):
    before = untrained.get_params()
    with pytest.raises(UsageError, match="GPTClassifier has no setting 'rate'; it has base, train"):
        untrained.set_params(lr=1.0, rate=2)
    assert untrained.get_params() == before


@pytest.mark.parametrize("use", [
    lambda model: model.predict(TEXTS), lambda model: model.predict_proba(TEXTS),
    lambda model: model.score(TEXTS, LABELS), lambda model: model.save("nowhere.h5"),
])
def test_it_must_be_fitted_first(use, untrained):
    with pytest.raises(UsageError, match=r"^GPTClassifier is not fitted; call fit or load first$"):
        use(untrained)


@pytest.mark.parametrize(("texts", "labels", "message"), [
    ("one text", ["a"], "X is one text"), ([], [], "0 class"), (["a", " "], ["x", "y"], r"empty text \(X, text 2\)"),
    (["a", 5], ["x", "y"], r"X holds a int \(X, text 2\)"), (np.array([["a"], ["b"]]), ["x", "y"], "one column"),
    (["a", "b"], ["x"], r"1 labels \(y\): there are 2 texts"), (["a", "b"], ["x", "x"], r"1 class \(y\)"),
    (["a", "b"], ["x", None], r"label None \(y, label 2\)"), (["a", "b"], [1.0, float("nan")], "label nan"),
    (["a", "b"], [["x"], ["y"]], r"\(y, label 1\)"), (["a", "b"], [[1, 2], [3]], r"\(y, label 1\)"),
])
def test_bad_texts_and_labels_are_refused_in_one_line(texts, labels, message, untrained):
    with pytest.raises(DataError, match=message) as caught:
        untrained.fit(texts, labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"epochs": 0}, UsageError, "epochs is 0; give a whole number"), ({"lr": -1}, UsageError, "lr is -1"),
    ({"lr": float("nan")}, UsageError, "lr is nan"), ({"batch_size": 2.5}, UsageError, "batch_size is 2.5"),
    ({"train": "most"}, UsageError, "train is 'most'; choose one of"), ({"base": "absent"}, CheckpointError, "absent"),
])
def test_bad_settings_are_refused_when_they_are_used(change, error, message, untrained):
    with pytest.raises(error, match=message):
        untrained.set_params(**change).fit(TEXTS, LABELS)


def test_a_failed_fit_keeps_the_model_before(fitted):
    before = fitted.predict_proba(TEXTS)
    with pytest.raises(DataError):
        fitted.fit(TEXTS, LABELS[:-1])
    assert fitted.predict_proba(TEXTS).tobytes() == before.tobytes()


def test_every_backend_gives_arrays_of_the_host(backend, untrained):
    model = untrained.set_params(epochs=1).fit(TEXTS, LABELS)
    assert backend_of(model.saved_.classifier.score.weight.data) is backend
    probabilities = model.predict_proba(TEXTS)
    assert type(probabilities) is np.ndarray
    assert pickle.loads(pickle.dumps(model)).predict_proba(TEXTS).tobytes() == probabilities.tobytes()


def test_a_model_stays_on_the_backend_that_it_is_told(untrained, fitted, tmp_path):
    model = untrained.set_params(backend="strict", epochs=1).fit(TEXTS, LABELS)
    assert default_backend().name == "numpy"
    probabilities = model.predict_proba(TEXTS)
    for again in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert backend_of(again.saved_.classifier.score.weight.data).name == "strict"
        assert again.predict_proba(TEXTS).tobytes() == probabilities.tobytes()
    fitted.save(tmp_path / "model.h5")
    elsewhere = GPTClassifier.load(tmp_path / "model.h5", backend="strict")
    assert backend_of(elsewhere.saved_.classifier.score.weight.data).name == elsewhere.backend == "strict"
    assert np.allclose(elsewhere.predict_proba(TEXTS), fitted.predict_proba(TEXTS), rtol=1e-5)


def test_a_backend_that_is_not_there_is_refused_before_anything_is_done(untrained):
    with pytest.raises(BackendError, match="backend 'tpu': unknown; choose one of auto, numpy, cupy"):
        untrained.set_params(backend="tpu").fit(TEXTS, LABELS)


def test_pickle_and_copy_keep_the_model(fitted, untrained):
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert again.predict_proba(TEXTS).tobytes() == fitted.predict_proba(TEXTS).tobytes()
        assert again.get_params() == fitted.get_params()
    assert pickle.loads(pickle.dumps(untrained)).get_params() == untrained.get_params()


def test_a_saved_model_is_read_here_and_by_the_commands(fitted, tmp_path, capsys):
    fitted.save(tmp_path / "model.h5")
    again = GPTClassifier.load(tmp_path / "model.h5")
    assert again.predict_proba(TEXTS).tobytes() == fitted.predict_proba(TEXTS).tobytes()
    chosen = {"base": fitted.base, "read": None}  # a file's path is noted without folders, and a chosen setting
    assert again.read == "last-real"
    assert again.get_params() | chosen == fitted.get_params()
    assert main(["classify", "--model", str(tmp_path / "model.h5"), TEXTS[0]]) == 0
    assert fitted.predict(TEXTS[:1])[0] in capsys.readouterr().out


def test_numbers_as_labels_survive_the_file(untrained, tmp_path):
    untrained.set_params(epochs=np.int64(1)).fit(TEXTS, np.arange(48) % 2)  # as a search over an array gives it
    untrained.save(tmp_path / "model.h5")
    assert GPTClassifier.load(tmp_path / "model.h5").predict(TEXTS).tolist() == untrained.predict(TEXTS).tolist()


def test_a_language_model_is_not_loaded(base):
    with pytest.raises(UsageError, match="a language model, not a classifier"):
        GPTClassifier.load(base)


def test_scikit_learn_is_not_imported():
    code = "import sys; from tinygrad_gpt import GPTClassifier; GPTClassifier(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")


# -- with scikit-learn

@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn is not installed")


def test_clone_gives_an_unfitted_twin(sklearn, fitted):
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(twin)
    assert is_classifier(twin)


def test_cross_validation_is_stratified_and_better_than_chance(sklearn, untrained):
    from sklearn.model_selection import cross_val_score

    scores = cross_val_score(untrained, np.array(TEXTS), np.array(LABELS), cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.5
    assert cross_val_score(untrained, np.array(TEXTS), np.array(LABELS), cv=2, n_jobs=2).tolist() == scores.tolist()
    losses = cross_val_score(untrained, TEXTS, LABELS, cv=2, scoring="neg_log_loss")
    assert (losses > -np.log(3)).all()


def test_grid_search_finds_the_setting_that_learns(sklearn, untrained):
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(untrained, {"lr": np.array([1e-7, 2e-2]), "epochs": np.array([3])}, cv=2)
    search.fit(TEXTS, LABELS)
    assert search.best_params_["lr"] == 2e-2
    assert search.predict(TEXTS).shape == (48,)
    assert search.classes_.tolist() == sorted(tiny.WORDS)


def test_at_the_end_of_a_pipeline_and_through_joblib(sklearn, untrained, tmp_path):
    import joblib
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    lower = FunctionTransformer(np.char.lower)
    pipeline = make_pipeline(lower, untrained).set_params(gptclassifier__epochs=3)
    pipeline.fit(np.char.upper(TEXTS), LABELS)
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    again = joblib.load(tmp_path / "pipeline.joblib", mmap_mode="r")  # arrays that must not be written
    assert again.predict_proba(np.array(TEXTS)).tobytes() == pipeline.predict_proba(np.array(TEXTS)).tobytes()
    assert pipeline.score(np.char.upper(TEXTS), LABELS) > 0.5
