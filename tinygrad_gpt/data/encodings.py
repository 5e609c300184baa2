"""Encodings of text: which are taken, and which one a file is most likely in."""

import codecs
import re
import unicodedata

from tinygrad_gpt.errors import UsageError

__all__ = ["advice", "byte_order", "checked_encoding", "control_character", "likely_encoding"]

NOT_OF_FILES = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
TRIED = (*WIDE[2:], *WIDE[:2], "utf-8", "cp932", "euc_jp", "gb18030", "big5", "cp949",
         "cp1252", "cp1251", "mac-roman", "koi8-r", "cp1250", "cp1253", "cp437")
EXAMINED = 4096  # bytes around the first one that is not ASCII

COMMON_LATIN = frozenset("äöüßÄÖÜéèêëÉàâáãåæçñîïíìôóòõøœûúùÅÆØÇÑ")
CENTRAL_LATIN = frozenset("ąćęłńśźżĄĆĘŁŃŚŹŻčďěňřšťůžýČĎĚŇŘŠŤŮŽÝőűŐŰăşţ")
COMMON_MARKS = frozenset("–—‘’“”„…•€£°§©®«»·¿¡´  、。，！？：；「」『』（）～・ー№")
COMMON_IDEOGRAPHS = {"gb18030": ("gb2312", 0xD7), "big5": ("big5", 0xC6), "cp932": ("shift_jis", 0x97),
                     "euc_jp": ("shift_jis", 0x97)}  # for each encoding: in which one they have a first byte up to this
SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "HIRAGANA", "KATAKANA", "CJK", "HANGUL", "HALFWIDTH", "FULLWIDTH")


def checked_encoding(name: str) -> str:
    """The name of an encoding as messages give it; latin-1 is read as cp1252.

    Raises:
        UsageError: "no encoding 'klingon' of text; use utf-8, utf-16, cp1252, …".
    """
    try:
        found = codecs.lookup(name)
        known = found._is_text_encoding and found.name.replace("_", "-") not in NOT_OF_FILES
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UsageError(f"no encoding {name!r} of text; use utf-8, utf-16, cp1252, mac-roman, shift-jis, gb18030 …")
    return "cp1252" if found.name == "iso8859-1" else name


def byte_order(data: bytes | bytearray, encoding: str) -> str:
    """``encoding``, with a byte order if it is UTF-16 or UTF-32 and the text has no mark: that of its ASCII letters."""
    name = codecs.lookup(encoding).name
    if name not in ("utf-16", "utf-32"):
        return encoding
    width = 2 if name == "utf-16" else 4
    little, big = (sum(data[i::width].count(0) for i in places) for places in ((width - 1,), (0,)))
    return f"{name}-le" if little >= big else f"{name}-be"


def control_character(text: str, data: bytes | bytearray, encoding: str) -> int | None:
    """Where a decoded text shows that its encoding is another one, or None.

    That is the first of many NULs, of which UTF-16 is full; a control character from U+0080 on, for which other 8-bit
    encodings have letters; or the first byte above ASCII, where all bytes are UTF-8 but another encoding was named.
    """
    name = codecs.lookup(encoding).name
    if text.count("\0") * 4 > len(text):
        return text.index("\0")
    if text.isascii() or name.startswith("utf"):
        return None
    if control := re.search("[\x80-\x84\x86-\x9f]", text):
        return control.start()
    first = re.search("[^\0-\x7f]", text)
    return first.start() if first and _decoded(data, "utf-8") is not None else None


def advice(data: bytes | bytearray, at: int, refused: str) -> str:
    """What to do about bytes that are not in the encoding ``refused``, the first of them at ``at``."""
    if refused == "utf-8":
        decoded = data.decode(refused, "replace")
        if 0 < decoded.count("\ufffd") <= sum(character > "\x7f" and character != "\ufffd" for character in decoded):
            return "the rest of the text is; correct that byte"
    best = likely_encoding(data, refused)
    before, text = (data[:end].decode(best, "ignore") for end in (at, at + 64))
    start = max(len(before) - 12, before.rfind("\n") + 1)
    shown = " ".join(text[start:start + 24].split())
    return f"as {best} it reads {shown!r}; convert the file to utf-8, or name that encoding where there is --encoding"


def likely_encoding(data: bytes | bytearray, refused: str = "") -> str:
    """The encoding under which bytes decode without an error, and look most like text."""
    first = next((match.start() for match in [re.search(rb"[\0\x80-\xff]", data)] if match), 0)
    start = max(0, first - EXAMINED // 2) // 4 * 4
    costs = []
    for order, name in enumerate(TRIED):
        if name != refused and (name not in WIDE or 0 in data) and _decoded(data, name) is not None:
            shown = data[start:start + EXAMINED].decode(name, "ignore")
            costs.append((_cost(shown, name), order, name))
    return min(costs)[2]


def _decoded(data: bytes | bytearray, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _cost(text: str, encoding: str) -> float:
    """How unlike a text characters are: those that are rare, and those whose neighbours do not fit."""
    return sum(_rarity(before, character, after, encoding)
               for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False)
               if character > "\x7f" or character == "\0")


def _rarity(before: str, character: str, after: str, encoding: str) -> float:
    category, script = unicodedata.category(character), _script(character)
    if category[0] == "C":
        return 20.0
    if category[0] != "L":
        inside = before.isalpha() and after.isalpha() and character != "’" and script == ""
        return (0.5 if character in COMMON_MARKS else 4.0) + (4.0 if inside and before.isascii() else 0.0)
    cased = 4.0 * (character.isupper() and before.islower())
    if script == "LATIN":
        rare = 1.0 if character in COMMON_LATIN else 1.5 if character in CENTRAL_LATIN else 3.0
        return cased + rare + 1.5 * (before > "\x7f" and before.isalpha())
    if script in ("CYRILLIC", "GREEK"):
        rare = 1.6 if "ѐ" <= character.lower() <= "ӿ" and character != "ё" else 0.8
        return cased + rare + 0.4 * character.isupper() + 3.0 * sum(
            letter.isascii() and letter.isalpha() for letter in (before, after))
    if script in ("HIRAGANA", "KATAKANA", "FULLWIDTH"):
        return 0.8
    if script == "CJK":
        return 1.2 if _common_ideograph(character, encoding) else 4.0
    return 1.0 if script == "HANGUL" else 4.0


def _script(character: str) -> str:
    return next((name for name in SCRIPTS if unicodedata.name(character, "").startswith(name)), "")


def _common_ideograph(character: str, encoding: str) -> bool:
    """Whether it is in the first level of the character set that an encoding is made for, or of any."""
    for name, (base, last) in COMMON_IDEOGRAPHS.items():
        code = character.encode(base, "ignore")
        if (name == encoding or encoding in WIDE) and len(code) == 2 and code[0] <= last:
            return True
    return False
