"""What a simple method reaches on the same split: no neural result means much without it."""

from tinygrad_gpt.data.classification import LabelledTexts, Split
from tinygrad_gpt.figures.classification import Report, judge

__all__ = ["bag_of_words"]


def bag_of_words(data: LabelledTexts, split: Split) -> Report | None:
    """Word and character TF-IDF with logistic regression, judged on the test part; None without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union
    except ImportError:
        return None
    features = make_union(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                          TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2))
    model = make_pipeline(features, LogisticRegression(C=30, max_iter=1000))
    model.fit([data.texts[i] for i in split.train], data.labels[split.train])
    probabilities = model.predict_proba([data.texts[i] for i in split.test])
    return judge(probabilities, data.labels[split.test], data.classes)
