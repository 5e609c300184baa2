"""Scores of responses, beside worked examples."""

import pytest

from tinygrad_gpt.figures.text_scores import exact_match, rouge_l, token_f1

CAT = "the tiny little cat was found under the big funny bed"


@pytest.mark.parametrize(("response", "expected", "score"), [
    # Lin 2004, section 3.1: S1 "police killed the gunman", S2 "police kill the gunman", S3 "the gunman kill police"
    ("police kill the gunman", "police killed the gunman", 3 / 4),
    ("the gunman kill police", "police killed the gunman", 2 / 4),
    # the example of keras_nlp.metrics.RougeL
    ("the cat was under the bed", CAT, 0.7058824),
    (CAT, CAT, 1.0),
    ("Police KILLED: the gunman!", "police killed the gunman", 1.0),
    ("nothing", CAT, 0.0),
    ("", CAT, 0.0),
    ("", "", 0.0),
    ("a b c d", "d c b a", 1 / 4),
    ("x a y b z", "a b", 4 / 7),
])
def test_rouge_l(response, expected, score):
    assert rouge_l(response, expected) == pytest.approx(score, abs=1e-7)
    assert rouge_l(expected, response) == rouge_l(response, expected)


@pytest.mark.parametrize(("response", "expected", "exact", "f1"), [
    ("The Denver Broncos", "denver broncos!", 1, 1),
    ("Denver", "Denver Broncos", 0, 2 / 3),
    ("broncos denver", "Denver Broncos", 0, 1),
    ("denver denver", "denver", 0, 2 / 3),
    ("45 kilometers", "4.5 kilometers", 1, 1),  # as in SQuAD: punctuation goes, wherever it stands
    ("", "the", 1, 1),
    ("", "x", 0, 0),
])
def test_exact_match_and_token_f1(response, expected, exact, f1):
    assert exact_match(response, expected) == exact
    assert token_f1(response, expected) == pytest.approx(f1)
