import pytest

from tinygrad_gpt.errors import DataError
from tinygrad_gpt.text.numbers import Numbers


def test_there_and_back():
    numbers = Numbers(300, [50256, 0, 299])
    assert numbers.encode("5 17\n99,0, 299") == [5, 17, 99, 0, 299]
    assert numbers.decode([5, 17, 299]) == " 5 17 299"
    assert (numbers.vocab_size, numbers.end_ids, numbers.special_in(["<s>"])) == (300, {0, 299}, set())
    assert Numbers(300).end_ids == set()
    assert repr(numbers) == "Numbers(vocab_size=300)"


@pytest.mark.parametrize(("text", "why"), [
    ("5 the", r"not an id 'the' \(number 2\): the model has ids 0 to 299; give numbers"), ("300", "not an id '300'"),
    ("-1", "not an id '-1'"), ("1.5", "not an id '1.5'"), ("٣", "not an id '٣'"), ("9" * 5000, "not an id '999"),
    ("", "no ids"), (" , ", "no ids"),
])
def test_what_is_no_id(text, why):
    with pytest.raises(DataError, match=why):
        Numbers(300).encode(text)
