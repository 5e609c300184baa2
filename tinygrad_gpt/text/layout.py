"""Which ids the tokens of a vocabulary have, and the special tokens it has beside them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tinygrad_gpt.errors import CheckpointError

__all__ = ["END_OF_TEXT", "Layout"]

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Layout:
    """The ids of a vocabulary; each from 0 to the largest belongs to a token.

    Args:
        ids: of the tokens of byte-pair encoding, by rank.
        special: the id of each special or added token by its text.
        eot_id: of the special token that ends a text.
        end_ids: tokens at which a generated text ends, `eot_id` among them.
        start_id: of the token that the model expects before each text, an encoder's `[CLS]`; None: none.
        prefix_space: whether a text that begins without a space gets one.
        sep_id: of the token that an encoder expects behind each text, `[SEP]`; None: none.
        mask_id: of the token that stands for a hidden one, `[MASK]`; None: none.
        pad_id: of the token that fills up shorter texts, `[PAD]`; None: none.
        unk_id: of the token that stands for what is not in the vocabulary, `[UNK]`; None: none.
        lstrip: special tokens that take the white space before them, as RoBERTa's `<mask>` does.
    """

    ids: tuple[int, ...]
    special: Mapping[str, int]
    eot_id: int
    end_ids: tuple[int, ...]
    start_id: int | None = None
    prefix_space: bool = False
    sep_id: int | None = None
    mask_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None
    lstrip: tuple[str, ...] = ()

    @classmethod
    def usual(cls, n_tokens: int) -> Self:
        """GPT-2's: the id of a token is its rank, and `<|endoftext|>` is the last."""
        return cls(tuple(range(n_tokens)), {END_OF_TEXT: n_tokens}, n_tokens, (n_tokens,))

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return max(self.ids + tuple(self.special.values()), default=-1) + 1

    def problem(self) -> str | None:
        """Say why these are no ids of a vocabulary, or None where they are."""
        numbers = [*self.ids, *self.special.values(), self.eot_id, *self.end_ids]
        roles = [i for i in (self.start_id, self.sep_id, self.mask_id, self.pad_id, self.unk_id) if i is not None]
        numbers += roles
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            return "an id is not a whole number from 0 on"
        if len(set(self.ids)) < len(self.ids):
            return "two tokens have one id"
        if len(set(self.special.values())) < len(self.special) or not all(map(_is_text, self.special)):
            return "two special tokens have one id, or one is no text"
        known = {*self.ids, *self.special.values()}
        if len(known) < self.vocab_size:
            return f"no token has id {next(i for i in range(self.vocab_size) if i not in known)}"
        if self.eot_id not in self.end_ids or not {self.eot_id, self.start_id} <= {*self.special.values(), None}:
            return "the token that begins or ends a text is none of its special tokens"
        if not set(roles) <= set(self.special.values()):
            return "the token that separates, hides, fills up or is unknown is none of its special tokens"
        if not set(self.lstrip) <= self.special.keys():
            return "a token that takes white space is none of its special tokens"
        if not known.issuperset(self.end_ids):
            return "it ends at an id that it does not have"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; what an encoder's vocabulary alone has is left out of others."""
        content = asdict(self)
        return {field.name: content[field.name] for field in fields(self)
                if field.name not in ("sep_id", "mask_id", "pad_id", "unk_id", "lstrip")
                or content[field.name] not in (None, ())}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what `to_json` returned.

        Raises:
            CheckpointError: a reason without the file's name, such as "no token has id 7".
        """
        try:
            layout = cls(**{**content, "ids": tuple(content["ids"]), "special": dict(content["special"]),
                            "end_ids": tuple(content["end_ids"]), "lstrip": tuple(content.get("lstrip", ()))})
        except (TypeError, KeyError, ValueError):
            raise CheckpointError("its layout is not that of a vocabulary") from None
        if type(layout.prefix_space) is not bool:
            raise CheckpointError("its layout is not that of a vocabulary")
        if why := layout.problem():
            raise CheckpointError(why)
        return layout


def _is_text(token: Any) -> bool:
    """Whether it is a string of at least one character that UTF-8 can hold."""
    return isinstance(token, str) and token != "" and not any("\ud800" <= character <= "\udfff" for character in token)
