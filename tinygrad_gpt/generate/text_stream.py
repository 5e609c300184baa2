"""Tokens to text, piece by piece: whole characters only, and nothing of a stop string."""

import codecs
from collections.abc import Sequence

from tinygrad_gpt.text import Tokenizer

__all__ = ["TextStream"]


class TextStream:
    """The text of tokens as they come.

    A character whose bytes are spread over several tokens is given out when it is complete, and what may be the
    beginning of a stop string is held back until it is not. A stop string counts once it is complete, wherever the
    borders between tokens lie; if two are, the one that was complete first.

    Args:
        tokenizer: turns ids into bytes.
        stop: strings, none empty, before which the text ends.

    Attributes:
        text: all that was given out.
        stopped: whether a stop string was found.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()):
        self._tokenizer, self._stop = tokenizer, stop
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, id: int) -> str:
        """The characters that are certain now that this token has come."""
        return self._take(self._tokenizer.decode_bytes([id]), last=False)

    def finish(self) -> str:
        """What was held back, now that no token comes any more; half a character becomes U+FFFD."""
        return "" if self.stopped else self._take(b"", last=True)

    def _take(self, data: bytes, last: bool) -> str:
        self._held += self._characters.decode(data, final=last)
        found = [(self._held.find(s) + len(s), self._held.find(s)) for s in self._stop if s in self._held]
        if found:
            self.stopped = True
            certain = min(found)[1]
        else:
            certain = len(self._held) - (0 if last else self._doubtful())
        piece, self._held = self._held[:certain], self._held[certain:]
        self.text += piece
        return piece

    def _doubtful(self) -> int:
        """How many of the last characters held may begin a stop string."""
        return max((n for s in self._stop for n in range(1, len(s)) if self._held.endswith(s[:n])), default=0)
