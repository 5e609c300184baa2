"""What a simple method reaches on the same split: no neural result means much without it."""

from collections.abc import Sequence

import numpy as np

from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.recipes.classification.objectives import objective_of

__all__ = ["answers_of_bag_of_words", "bag_of_words"]

READ = 20_000  # characters of a text; a text of 5 MB would take 1.2 GB, and the model reads its beginning only, too


def answers_of_bag_of_words(texts: Sequence[str], labels: np.ndarray, asked: Sequence[str]) -> np.ndarray | None:
    """Fit word and character TF-IDF with logistic regression, and ask it; of each text 20,000 characters are read.

    Args:
        texts: N of them, to fit.
        labels: (N,) the class of each, or (N, K) of 0 and 1.
        asked: M other texts.

    Returns:
        Their probabilities (M, K); None without scikit-learn, or if no text to fit has a word of two letters or more.

    Raises:
        TinygradError: "a bag of words (scikit-learn): …; reinstall scikit-learn".
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
        return model.fit([text[:READ] for text in texts], labels).predict_proba([text[:READ] for text in asked])
    except MemoryError:
        raise
    except Exception as error:
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise TinygradError(f"a bag of words (scikit-learn): {type(error).__name__}: {str(error)[:100]}; "
                            "reinstall scikit-learn") from error


def bag_of_words(data: LabelledTexts, split: Split) -> Report | None:
    """A bag of words, fitted on the training part and judged on the test part.

    Returns:
        The figures; None where it cannot be fitted, as `answers_of_bag_of_words`.

    Raises:
        TinygradError: "cannot compare with a bag of words (scikit-learn): …; the model is saved".
    """
    train, judged = ([data.texts[i] for i in rows] for rows in (split.train, [*split.validation, *split.test]))
    try:
        probabilities = answers_of_bag_of_words(train, data.labels[split.train], judged)
    except TinygradError as error:
        raise TinygradError(f"cannot compare with {error}; the model is saved") from error
    if probabilities is None:
        return None
    of_validation, of_test = np.split(probabilities, [len(split.validation)])
    objective = objective_of(data.labels).fitted(of_validation, data.labels[split.validation])
    return objective.judge(of_test, data.labels[split.test], data.classes)
