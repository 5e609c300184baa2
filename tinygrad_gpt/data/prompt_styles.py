"""How an instruction, or a conversation, becomes the one text that a language model continues."""

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_gpt.errors import UsageError

__all__ = ["STYLES", "Style", "find_style"]


@dataclass(frozen=True)
class Style:
    """The marks around what is said. The end-of-text token follows the last response, in every style.

    Args:
        start: before everything.
        user: around a request, with ``{}`` in its place.
        input: between an instruction and its input.
        assistant: before a response.
        end: behind a response.
        following: between a response and the next request.
    """

    start: str
    user: str
    input: str
    assistant: str
    end: str
    following: str

    def request(self, instruction: str, input: str = "") -> str:
        """An instruction with what it works on, if there is anything."""
        return instruction + self.input + input if input else instruction

    def prompt(self, requests: Sequence[str], responses: Sequence[str] = ()) -> str:
        """The text up to where the next response begins.

        Args:
            requests: from the first to the one that waits for its response.
            responses: to all requests but the last.
        """
        said = [*responses, None]
        text = self.start
        for request, response in zip(requests, said, strict=True):
            text += self.user.format(request) + self.assistant
            if response is not None:
                text += response + self.end + self.following
        return text

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings at which a response is over, though the model may go on."""
        return (self.end or self.user.partition("{}")[0].strip(),)


STYLES = {
    # Taori et al. 2023, github.com/tatsu-lab/stanford_alpaca; with or without an input the same first sentences, as in
    # S. Raschka, Build a Large Language Model (From Scratch), section 7.2
    "alpaca": Style("Below is an instruction that describes a task. Write a response that appropriately completes the "
                    "request.\n\n", "### Instruction:\n{}\n\n", "\n\n### Input:\n", "### Response:\n", "", "\n\n"),
    # the card of huggingface.co/microsoft/Phi-3-mini-4k-instruct, "Chat Format"; here the marks are plain text
    "phi3": Style("", "<|user|>\n{}<|end|>\n", "\n", "<|assistant|>\n", "<|end|>", "\n"),
    # ChatML, github.com/openai/openai-python/blob/v0.28.1/chatml.md; here the marks are plain text
    "chat": Style("", "<|im_start|>user\n{}<|im_end|>\n", "\n", "<|im_start|>assistant\n", "<|im_end|>", "\n"),
}


def find_style(name: str) -> Style:
    """The style of that name.

    Raises:
        UsageError: "style is 'poem'; choose one of alpaca, phi3, chat".
    """
    if name not in STYLES:
        raise UsageError(f"style is {name!r}; choose one of {', '.join(STYLES)}")
    return STYLES[name]
