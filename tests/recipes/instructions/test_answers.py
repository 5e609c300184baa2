"""Answers in responses, majority vote and best of N."""

import pytest

from tinygrad_gpt.recipes.generate import Completion
from tinygrad_gpt.recipes.instructions.answers import answer_of, best_of, is_right, majority, mean_log_probability


def response(text, *logprobs):
    return Completion("", text, tuple(range(len(logprobs))), logprobs, "end of text", 0, False)


@pytest.mark.parametrize(("text", "answer"), [
    ("42", "42"), ("so 1,200.0 in all.", "1200"), ("3 + 4 = 7", "7"), ("it is -5", "-5"), ("−5 degrees", "-5"),
    ("0.50", "0.5"), ("007", "7"), ("-0.0", "0"), ("#### 18\n", "18"), (" Paris. ", "paris"), ("the  Sun", "the sun"),
    ("", ""), ("$3.", "3"),
])
def test_the_answer_is_the_last_number_or_the_whole_text(text, answer):
    assert answer_of(text) == answer


def test_numbers_are_right_however_they_are_written():
    assert is_right("That makes 1,200.", "1200.00")
    assert not is_right("That makes 12.", "1200")


def test_the_vote_counts_answers_and_not_texts():
    drawn = [response("7", -1.0), response("it is 8", -0.1), response("3 + 4 = 7", -0.5), response("so 7", -0.7)]
    choice = majority(drawn)
    assert (choice.completion, choice.answer, choice.score) == (drawn[2], "7", 0.75)
    assert choice.answers == {"7": 3, "8": 1}


def test_equally_common_answers_are_settled_by_their_likelihood():
    drawn = [response("7", -1.0, -1.0), response("8", -0.5, -1.0)]
    assert majority(drawn).answer == "8"


def test_the_best_has_the_highest_score_and_equal_scores_take_the_first():
    drawn = [response("a", -1.0, -1.0), response("b", -0.5, -1.0), response("c", -0.75)]
    assert best_of(drawn).completion == drawn[1]
    assert best_of(drawn).score == mean_log_probability(drawn[1]) == -0.75
    assert best_of(drawn, score=lambda completion: len(completion.ids)).completion == drawn[0]
    assert mean_log_probability(response("")) == -float("inf")
