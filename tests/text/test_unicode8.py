import unicodedata

import pytest

from tinygrad_gpt.text.unicode8 import category

DECIDING = ("Cc", "Cf", "Co", "Mn", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps")


@pytest.mark.parametrize(("character", "expected"), [
    ("a", "Ll"), ("$", "Sc"), ("_", "Pc"), ("\x00", "Cc"), ("\u200b", "Cf"), ("\ue000", "Co"), ("\u0301", "Mn"),
    ("—", "Pd"), ("\xa0", "Zs"), ("\u2028", "Zl"),
    ("\u061d", "Cn"),  # punctuation of Unicode 14
    ("\u0898", "Cn"),  # an accent of Unicode 14
    ("\u0890", "Cn"),  # a format character of Unicode 14
    ("\u166d", "Po"), ("\u1734", "Mn"),  # So and Mc today
])
def test_by_hand(character, expected):
    assert category(character) == expected


def test_what_unicode_3_had_is_as_today():
    """Whatever Unicode 3.2 had with a category that decides, and has still, is the same."""
    kept = [c for c in map(chr, range(0x30000)) if unicodedata.ucd_3_2_0.category(c) in DECIDING
            and unicodedata.category(c) == unicodedata.ucd_3_2_0.category(c)]
    assert len(kept) > 7000
    assert [c for c in kept if category(c) != unicodedata.category(c)] == []


def test_the_tables_of_the_library():
    """Controls, accents and punctuation of all planes in use are what tokenizers takes for them."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers, the oracle, is not installed")
    points = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE1000), *range(0x10FF00, 0x110000)]
    characters = [c for c in map(chr, points) if not c.isspace() and c != "\ufffd"]
    text = "\n".join(f"a{c}" for c in characters)
    cleaned = tokenizers.normalizers.BertNormalizer(True, False, False, False).normalize_str(text).split(" ")
    assert [c for c, part in zip(characters, cleaned, strict=True) if part == "a"] == [
        c for c in characters if category(c) in ("Cc", "Cf", "Co")]
    stripped = tokenizers.normalizers.BertNormalizer(False, False, True, False).normalize_str(text).split("\n")
    assert [c for c, part in zip(characters, stripped, strict=True) if part == "a"] == [
        c for c in characters if category(c) == "Mn"]
    parts = [part for part, _ in tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
    assert set(parts) - {"a"} - {f"a{c}" for c in characters} == set("$+<=>^`|~") | {
        c for c in characters if category(c).startswith("P")}
