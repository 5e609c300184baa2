"""Finetuning with scikit-learn's interface: texts and labels in, arrays out. scikit-learn itself is not needed."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from tinygrad_gpt.backend import on_backend
from tinygrad_gpt.data.batches import truncate
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.recipes.classification.classify import encode_texts, predict
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.finetune import train_on_texts
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, model_file, origin, packed, save_model, unpacked

__all__ = ["GPTClassifier"]


@dataclass(eq=False)
class GPTClassifier:
    """A GPT-2 or an encoder that is finetuned to classify texts, for `cross_val_score`, `GridSearchCV` and pipelines.

    Args:
        base, train, rank, alpha, read, no_causal_mask, context, epochs, batch_size, accumulate, lr, schedule,
            layer_decay, unfreeze, average, weight_decay, max_norm, dropout, head_dropout, hide, lm_weight,
            class_weights, seed: as in `FinetuneConfig`.
            Of read, lr, dropout and lm_weight, None means what suits the base.
        vocab_size, n_ctx, n_embd, n_layer, n_head: the same, of the new model that ``base="random"`` means.
        backend: "numpy", "cupy" or "auto"; None: the default of the thread that calls, which is NumPy at first.

    Attributes:
        classes_: (K,) the labels, sorted.
        saved_: the model, its vocabulary and where they come from.

    Example:
        >>> model = GPTClassifier(epochs=3).fit(["free prize", "see you at six"], ["spam", "ham"])
        >>> model.predict_proba(["a prize for you"])  # (1, 2)
    """

    base: str = FinetuneConfig.base
    train: str = FinetuneConfig.train
    rank: int = FinetuneConfig.rank
    alpha: float = FinetuneConfig.alpha
    read: str = FinetuneConfig.read
    no_causal_mask: bool = FinetuneConfig.no_causal_mask
    context: str = FinetuneConfig.context
    epochs: int = FinetuneConfig.epochs
    batch_size: int = FinetuneConfig.batch_size
    accumulate: int = FinetuneConfig.accumulate
    lr: float = FinetuneConfig.lr
    schedule: str = FinetuneConfig.schedule
    layer_decay: float = FinetuneConfig.layer_decay
    unfreeze: float = FinetuneConfig.unfreeze
    average: int = FinetuneConfig.average
    weight_decay: float = FinetuneConfig.weight_decay
    max_norm: float = FinetuneConfig.max_norm
    dropout: float = FinetuneConfig.dropout
    head_dropout: float = FinetuneConfig.head_dropout
    hide: float = FinetuneConfig.hide
    lm_weight: float = FinetuneConfig.lm_weight
    class_weights: str = FinetuneConfig.class_weights
    seed: int = FinetuneConfig.seed
    vocab_size: int = FinetuneConfig.vocab_size
    n_ctx: int = FinetuneConfig.n_ctx
    n_embd: int = FinetuneConfig.n_embd
    n_layer: int = FinetuneConfig.n_layer
    n_head: int = FinetuneConfig.n_head
    backend: str | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name; ``deep`` changes nothing, for none of them has settings of its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change settings; they count from the next `fit` on.

        Raises:
            UsageError: "GPTClassifier has no setting 'rate'; it has base, train, …".
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                raise UsageError(f"GPTClassifier has no setting {name!r}; it has {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Self:
        """Train on texts, from the base on, whatever was trained before.

        Args:
            X: N texts, a list, an array (N) or a column of a table.
            y: N labels: strings or numbers.

        Raises:
            DataError: "empty text (X, text 2): …"; no texts, one class only, or as many labels as texts are missing.
            BackendError: "backend 'cupy': CuPy is not installed; …".
            UsageError, CheckpointError, NonFiniteError, ResourceError: as `finetune_classifier`.
        """
        texts = _texts(X)
        classes, labels = _classes(y, len(texts))
        settings = {name: _plain(value) for name, value in self.get_params().items() if name != "backend"}
        config = FinetuneConfig(data="", **settings)
        with on_backend(self.backend):
            model, tokenizer = train_on_texts(texts, labels, config)
        files = [] if config.base == "random" else [str(model_file(config.base))]
        provenance = {**origin("GPTClassifier", config, files), "classes": classes.tolist()}
        self.saved_ = SavedModel(model, tokenizer, tuple(map(str, classes.tolist())), provenance)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Iterable[str]) -> np.ndarray:
        """Probabilities (N, K) float32 of the classes, in the order of ``classes_``.

        Raises:
            UsageError: "GPTClassifier is not fitted; call fit or load first".
            DataError: "empty text (X, text 2): …".
        """
        if not self.__sklearn_is_fitted__():
            raise UsageError("GPTClassifier is not fitted; call fit or load first")
        model, texts = self.saved_.classifier, _texts(X)
        tokens, _ = encode_texts(self.saved_.tokenizer, texts, None, model.reading.start)
        return predict(Texts(model, truncate(tokens, model.context, model.specials // 2)[0]))

    def predict(self, X: Iterable[str]) -> np.ndarray:
        """The likeliest class (N) of each text; raises as `predict_proba`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Iterable[str], y: Iterable[Any]) -> float:
        """Accuracy; raises as `predict_proba`, and DataError if there are more labels than texts, or fewer."""
        predicted = self.predict(X)
        return float(np.mean(predicted == _labels(y, len(predicted))))

    def save(self, path: str | Path) -> None:
        """Write the model as one file, which `classify --model` and `load` read.

        Raises:
            UsageError: "GPTClassifier is not fitted; …".
            ResourceError, TinygradError: as `write_atomic`.
        """
        if not self.__sklearn_is_fitted__():
            raise UsageError("GPTClassifier is not fitted; call fit or load first")
        save_model(path, self.saved_)

    @classmethod
    def load(cls, path: str | Path, backend: str | None = None) -> Self:
        """Read what `save` or `finetune classifier` wrote, or a model that ships with the package.

        Args:
            path: of the file, or a shipped model's name.
            backend: the setting of that name; a file knows nothing of it.

        Raises:
            CheckpointError, UsageError: the file is missing or damaged, or holds no classifier.
        """
        with on_backend(backend):
            saved = load_model(path)
        _ = saved.classifier  # refuses a language model
        config = saved.provenance.get("config", {})
        self = cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config}, backend=backend)
        self.saved_, self.classes_ = saved, np.array(saved.provenance.get("classes", saved.labels))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and joblib: the model as plain arrays."""
        state = dict(vars(self))
        return state | {"saved_": packed(state["saved_"])} if "saved_" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "saved_" in state:
            tensors, metadata = state["saved_"]
            with on_backend(self.backend):
                self.saved_ = unpacked(tensors, metadata, "a pickle")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "saved_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks an estimator about itself; called by it alone."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(estimator_type="classifier", target_tags=TargetTags(required=True),
                    classifier_tags=ClassifierTags(),
                    input_tags=InputTags(one_d_array=True, two_d_array=False, string=True))


def _texts(X: Iterable[str]) -> list[str]:
    """The texts as a list, if they are texts."""
    if isinstance(X, str):
        raise DataError("X is one text, expected a list of texts; write [text]")
    texts = list(X)
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(f"X holds a {type(text).__name__} (X, text {number}): texts are strings; give an array (N) "
                            "of strings, such as one column of a table")
        if not text.strip():
            raise DataError(f"empty text (X, text {number}): there is nothing to classify; give a text with words")
    return [str(text) for text in texts]


def _labels(y: Iterable[Any], count: int) -> np.ndarray:
    """The labels as an array (N)."""
    given = list(y)
    for number, label in enumerate(given, start=1):
        if label is None or np.ndim(label) or label != label:
            raise DataError(f"label {label!r} (y, label {number}): labels are strings or numbers, one a text")
    if len(given) != count:
        raise DataError(f"{len(given)} labels (y): there are {count} texts; give one label for each")
    return np.array(given)


def _classes(y: Iterable[Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The sorted classes (K), and the class (N) of each text."""
    classes, labels = np.unique(_labels(y, count), return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} class (y): there is nothing to tell apart; give texts of two classes or more")
    return classes, labels


def _plain(value: Any) -> Any:
    """A setting without NumPy's types, in which a search may give it."""
    return value.item() if isinstance(value, np.generic) else value
