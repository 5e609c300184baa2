"""The encoding of a text is refused where it is wrong, and the right one advised."""

import pytest

from tinygrad_gpt.data.encodings import byte_order, checked_encoding, control_character, likely_encoding
from tinygrad_gpt.errors import UsageError

TEXTS = [  # in which other encodings the bytes decode as well, so that only the letters tell
    ("cp1252", "ham,cold – it’s €0 “now”\n"), ("cp1252", "Für den Käse: café déjà vu, garçon\n"), ("cp1252", "café"),
    ("cp1252", "DÉJÀ VU – ÉTÉ"), ("cp1252", "el señor naïve, niño\n"), ("cp1252", "the price is 10 €"),
    ("cp1251", "Привет, как дела?,ham\n"), ("koi8-r", "Привет, как дела?,ham\n"),
    ("cp932", "こんにちは、世界,ham\n無料プレゼント,spam\n"), ("euc_jp", "こんにちは、世界,ham\n無料プレゼント,spam\n"),
    ("gb18030", "你好，世界,ham\n免费赠品,spam\n"), ("big5", "你好，世界,ham\n免費贈品,spam\n"),
    ("cp949", "안녕하세요 세계,ham\n무료 상품,spam\n"), ("mac-roman", "café – it’s “now”, Grüße aus Köln\n"),
    ("cp1250", "zażółć gęślą jaźń\n"), ("cp1253", "Καλημέρα κόσμε,ham\n"), ("cp437", "café déjà vu, Käse\n"),
    ("utf-16-le", "hello,ham\n"), ("utf-16-be", "привет,ham\n"), ("utf-16-le", "你好，世界,ham\n"),
    ("utf-32-le", "hello,ham\n"), ("utf-32-be", "你好，世界,ham\n"),
]


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_the_encoding_that_reads_like_text(encoding, text):
    assert likely_encoding(text.encode(encoding)) == encoding


def test_what_was_refused_is_not_advised():
    assert likely_encoding("café".encode("cp1252"), "cp1252") != "cp1252"


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "hex",
                                  "rot13", "base64", "bz2", "klingon", "a\0b", ""])
def test_codecs_that_are_none_of_text_are_wrong_usage(name):
    with pytest.raises(UsageError, match="no encoding"):
        checked_encoding(name)


@pytest.mark.parametrize("name", ["latin-1", "ISO-8859-1", "l1"])
def test_latin_1_means_cp1252(name):
    assert checked_encoding(name) == "cp1252"
    assert checked_encoding("utf-8") == "utf-8"


def test_the_byte_order_of_a_text_without_mark():
    for order in ("le", "be"):
        for bits in ("16", "32"):
            assert byte_order("héllo, wörld".encode(f"utf-{bits}-{order}"), f"utf-{bits}") == f"utf-{bits}-{order}"
    assert byte_order(b"abc", "utf-8") == "utf-8"


@pytest.mark.parametrize(("text", "encoding", "place"), [
    ("ok\n\x96", "iso-8859-2", 3), ("zażółć", "iso-8859-2", None), ("a\x85b", "iso-8859-15", None),
    ("h\0i\0", "utf-8", 1), ("plain \0 text", "utf-8", None), ("fÃ¼r", "cp1252", 1), ("für", "cp1252", None),
])
def test_signs_of_another_encoding(text, encoding, place):
    assert control_character(text, text.encode(encoding), encoding) == place
