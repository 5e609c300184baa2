"""What a simple method reaches on the same split: no neural result means much without it."""

import numpy as np

from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.figures.classification import Report
from tinygrad_gpt.recipes.classification.objectives import objective_of

__all__ = ["bag_of_words"]

READ = 20_000  # characters of a text; a text of 5 MB would take 1.2 GB, and the model reads its beginning only, too


def bag_of_words(data: LabelledTexts, split: Split) -> Report | None:
    """Word and character TF-IDF with logistic regression, judged on the test part.

    Of each text the first 20,000 characters are read.

    Returns:
        The figures; None without scikit-learn, or if the training texts have no words of two letters or more.

    Raises:
        TinygradError: "cannot compare with a bag of words (scikit-learn): …; the model is saved; …".
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
    model = make_pipeline(features, regression if data.labels.ndim == 1 else OneVsRestClassifier(regression))
    try:
        model.fit([data.texts[i][:READ] for i in split.train], data.labels[split.train])
        judged = np.concatenate([split.validation, split.test])
        probabilities = model.predict_proba([data.texts[i][:READ] for i in judged])
    except MemoryError:
        raise
    except Exception as error:
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise TinygradError(f"cannot compare with a bag of words (scikit-learn): {type(error).__name__}: "
                            f"{str(error)[:100]}; the model is saved; reinstall scikit-learn") from error
    of_validation, of_test = np.split(probabilities, [len(split.validation)])
    objective = objective_of(data.labels).fitted(of_validation, data.labels[split.validation])
    return objective.judge(of_test, data.labels[split.test], data.classes)
