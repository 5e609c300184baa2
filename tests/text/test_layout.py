import pytest

from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.text.layout import END_OF_TEXT, Layout

FIRST = Layout((2, 3, 4), {"<s>": 0, "</s>": 1}, eot_id=1, end_ids=(1, 3), start_id=0, prefix_space=True)

ENCODERS = Layout((2, 3), {"<s>": 0, "</s>": 1, "<mask>": 4, "<pad>": 5, "<unk>": 6}, eot_id=1, end_ids=(1,),
                  start_id=0, sep_id=1, mask_id=4, pad_id=5, unk_id=6, lstrip=("<mask>",))


def test_gpt2s_has_the_end_of_text_last():
    layout = Layout.usual(3)
    assert (layout.ids, layout.special, layout.eot_id, layout.end_ids) == ((0, 1, 2), {END_OF_TEXT: 3}, 3, (3,))
    assert (layout.start_id, layout.prefix_space, layout.vocab_size, layout.problem()) == (None, False, 4, None)


def test_there_and_back():
    for layout in (FIRST, ENCODERS, Layout.usual(0), Layout.usual(5)):
        assert Layout.from_json(layout.to_json()) == layout


def test_what_encoders_have_is_left_out_of_others():
    assert FIRST.to_json().keys() == {"ids", "special", "eot_id", "end_ids", "start_id", "prefix_space"}
    assert ENCODERS.to_json()["mask_id"] == 4


@pytest.mark.parametrize(("change", "why"), [
    ({"sep_id": 2}, "separates, hides, fills up or is unknown"), ({"pad_id": 9}, "separates, hides, fills up"),
    ({"mask_id": "1"}, "not a whole number"), ({"lstrip": ["<x>"]}, "takes white space"), ({"lstrip": 7}, "its layout"),
    ({"ids": [2, 3, 3]}, "two tokens have one id"), ({"ids": [2, 3, 5]}, "no token has id 4"),
    ({"ids": [2, 3, 2**31 - 1]}, "no token has id 4"), ({"ids": [2, 3, -1]}, "not a whole number"),
    ({"ids": [2, 3, True]}, "not a whole number"), ({"ids": [2, 3, 4.0]}, "not a whole number"),
    ({"ids": [2, 3, 2**31]}, "not a whole number"), ({"ids": 7}, "its layout is not"), ({"ids": None}, "its layout"),
    ({"special": {"<s>": 1, "</s>": 1}}, "two special tokens have one id"),
    ({"special": {"": 0, "</s>": 1}}, "no text"),
    ({"special": {"\ud800": 0, "</s>": 1}}, "no text"), ({"special": ["<s>"]}, "its layout is not"),
    ({"special": {"<s>": "0", "</s>": 1}}, "not a whole number"), ({"eot_id": 2}, "begins or ends a text is none"),
    ({"eot_id": None}, "not a whole number"), ({"end_ids": [3]}, "begins or ends a text is none"),
    ({"end_ids": [1, 5]}, "it ends at an id that it does not have"), ({"end_ids": 1}, "its layout is not"),
    ({"start_id": 4}, "begins or ends a text is none"), ({"start_id": "0"}, "not a whole number"),
    ({"prefix_space": 1}, "its layout is not"), ({"other": 1}, "its layout is not"),
])
def test_what_is_none_is_refused(change, why):
    with pytest.raises(CheckpointError, match=why):
        Layout.from_json({**FIRST.to_json(), **change})


@pytest.mark.parametrize("content", [None, [], {}, "ids", 7])
def test_other_json_is_refused(content):
    with pytest.raises(CheckpointError, match="its layout is not that of a vocabulary"):
        Layout.from_json(content)
