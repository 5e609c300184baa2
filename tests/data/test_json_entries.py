"""JSON values come from lists, lines and rows of objects, and what is no JSON has a place."""

import pytest

from tinygrad_gpt.data.json_entries import read_entries


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a": 1}\n\n{"a": 2.0}\n', [(1, {"a": "1"}, ""), (3, {"a": "2.0"}, "")]),
    ('[{"a": 1}, true]', [(1, {"a": "1"}, ""), (2, True, "")]),
    ('{"a": 1}{"a": 2}', [(1, {"a": "1"}, ""), (2, {"a": "2"}, "")]),
    ('{"a": 1}\n[1\n2', [(1, {"a": "1"}, ""), (2, None, "not JSON: Expecting ',' delimiter"), (3, "2", "")]),
    ('{"a": 1, "a": 2}', [(1, {"a": "2"}, "the key 'a' is there twice")]),
    ("", []),
])
def test_entries(text, expected):
    assert [(entry.line, entry.value, entry.fault) for entry in read_entries(text, by_line=True)] == expected
