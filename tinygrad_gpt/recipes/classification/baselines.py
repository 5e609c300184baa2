"""What a simple method reaches on the same split: no neural result means much without it."""

from collections.abc import Callable, Sequence

import numpy as np

from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.recipes.classification.objectives import objective_of

__all__ = ["bag_of_words", "fit_bag_of_words"]

READ = 20_000  # characters of a text; a text of 5 MB would take 1.2 GB, and the model reads its beginning only, too


def fit_bag_of_words(texts: Sequence[str], labels: np.ndarray) -> Callable[[Sequence[str]], np.ndarray] | None:
    """Fit word and character TF-IDF with logistic regression; of each text the first 20,000 characters are read.

    Args:
        texts: N of them.
        labels: (N,) the class of each, or (N, K) of 0 and 1.

    Returns:
        A function of M texts that gives their probabilities (M, K); None without scikit-learn, or if the texts have no
        words of two letters or more.

    Raises:
        TinygradError: "cannot fit a bag of words (scikit-learn): …; what was written before is kept; …".
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline, make_union
    except ImportError:
        return None
    features = make_union(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                          TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2))
    regression = LogisticRegression(C=30, max_iter=1000)
    model = make_pipeline(features, regression if labels.ndim == 1 else OneVsRestClassifier(regression))
    try:
        model.fit([text[:READ] for text in texts], labels)
    except MemoryError:
        raise
    except Exception as error:
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise TinygradError(f"cannot fit a bag of words (scikit-learn): {type(error).__name__}: "
                            f"{str(error)[:100]}; what was written before is kept; reinstall scikit-learn") from error
    return lambda texts: model.predict_proba([text[:READ] for text in texts])


def bag_of_words(data: LabelledTexts, split: Split) -> Report | None:
    """Fit a bag of words on the training part and judge it on the test part; raises as `fit_bag_of_words`.

    Returns:
        The figures; None where it cannot be fitted.
    """
    fitted = fit_bag_of_words([data.texts[i] for i in split.train], data.labels[split.train])
    if fitted is None:
        return None
    of_validation, of_test = (fitted([data.texts[i] for i in part]) if len(part) else np.zeros((0, len(data.classes)))
                              for part in (split.validation, split.test))
    objective = objective_of(data.labels).fitted(of_validation, data.labels[split.validation])
    return objective.judge(of_test, data.labels[split.test], data.classes)
