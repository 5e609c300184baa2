"""The page of reasons: whole, readable, and safe against what a text holds."""

from html.parser import HTMLParser

import pytest
import tiny

from tinygrad_gpt.recipes.classification.attribution import attribute
from tinygrad_gpt.recipes.classification.attribution_page import attribution_page, shade
from tinygrad_gpt.recipes.classification.classify import classify

TEXTS = ["ice ski", '<script>alert("x")</script> & <b>cold</b>', "two\nlines \u202e of \x1b[31m text"]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.titles = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.titles += [value for name, value in attributes if name == "title"]

    def handle_data(self, data):
        self.texts.append(data)


SAVED = tiny.classifier(n_ctx=64)
ANSWERS = classify(SAVED, TEXTS)
FOUND = [attribute(SAVED, answer.text, answer.label) for answer in ANSWERS]


@pytest.fixture(scope="module")
def page():
    return attribution_page(ANSWERS, FOUND)


def test_every_text_is_there_as_it_is(page):
    reader = Reader()
    reader.feed(page)
    shown = "".join(reader.texts)
    assert all(text in shown for text in TEXTS)
    assert {"script", "b"}.isdisjoint(reader.tags)
    words = [word for found in FOUND for word in found.words]
    assert reader.titles == [f"{word.integrated:+.3f}" for word in words]
    assert len(words) >= sum(len(text.split()) for text in TEXTS)


def test_nothing_is_loaded(page):
    assert "http" not in page
    assert "src=" not in page


def test_shades_are_shares_of_the_largest():
    assert shade([2.0, -4.0, 0.0]) == [0.5, -1.0, 0.0]
    assert shade([0.0]) == [0.0]
    assert shade([]) == []
