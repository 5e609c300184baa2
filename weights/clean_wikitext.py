"""Text of Wikipedia without the marks of WikiText-2, as `storyteller` was trained on.

    python weights/clean_wikitext.py wikitext-2.test.txt > wikitext-2.clean.txt

Sentences with an unknown word (`<unk>`) are left out, and the spaces around punctuation.
"""

import re
import sys
from pathlib import Path

JOINED = ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."))
PATTERNS = (
    (r" ([.,;:?!)\]%])", r"\1"),
    (r"([(\[]) ", r"\1"),
    (r" ('s|n't|'t|'re|'ve|'d|'ll|'m)\b", r"\1"),
    (r'" ([^"]*?) "', r'"\1"'),
    (r"(\w) ' (?=\w)", r"\1' "),
    (r"^= (?:= )*(.*?)(?: =)+$", r"\1"),  # a heading
)


def cleaned(line: str) -> str:
    """One paragraph or heading."""
    sentences = re.split(r"(?<= [.?!] )", line.strip() + " ")
    text = "".join(sentence for sentence in sentences if "<unk>" not in sentence).strip()
    for marks, plain in JOINED:
        text = text.replace(marks, plain)
    for pattern, plain in PATTERNS:
        text = re.sub(pattern, plain, text)
    return text.replace(" – ", "–") if re.search(r"\d – \d", text) else text


if __name__ == "__main__":
    paragraphs = (cleaned(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines() if line.strip())
    sys.stdout.write("\n\n".join(text for text in paragraphs if len(text) > 3) + "\n")
