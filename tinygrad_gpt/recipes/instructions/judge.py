"""Another model, behind an address, that scores responses."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tinygrad_gpt.data.instructions import Instruction
from tinygrad_gpt.errors import TinygradError, UsageError

__all__ = ["KEY_VARIABLE", "Judge", "Verdict", "parse_score"]

KEY_VARIABLE = "TINYGRAD_GPT_JUDGE_KEY"
TIMEOUT = 10.0, 300.0  # seconds: to connect, and to wait for a reply
QUESTION = """\
A language model was given this task:

{task}

A good response would be:

{expected}

The response of the model was:

{response}

How good is the response of the model, from 0 (useless) to 100 (as good as can be)? Reply with one whole number only."""


@dataclass(frozen=True)
class Verdict:
    """What the judge said about one response.

    Args:
        score: 0 to 100, None if there is none.
        reply: its words, or why there are none.
        answered: False if the server gave no reply at all.
    """

    score: int | None
    reply: str
    answered: bool


@dataclass(frozen=True)
class Judge:
    """A model that is served as OpenAI or Ollama serve theirs.

    Args:
        url: the address. With "/api" at the end, or "/api/chat", it is asked as Ollama is; else as OpenAI, such as
            "https://api.openai.com/v1".
        model: its name there.
        key: sent as a bearer token.

    Raises:
        UsageError: "judge is 'x', expected an address such as …".

    Source: https://platform.openai.com/docs/api-reference/chat and
        https://github.com/ollama/ollama/blob/main/docs/api.md.
    """

    url: str
    model: str
    key: str | None = None

    def __post_init__(self):
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"judge is {self.url!r}, expected an address such as http://localhost:11434/api")

    def ask(self, entry: Instruction, response: str) -> Verdict:
        """Let one response be scored; a server that fails is a verdict without a reply."""
        try:
            reply = self._reply(QUESTION.format(
                task="\n\n".join(filter(None, (entry.instruction, entry.input))), expected=entry.output,
                response=response))
        except TinygradError as error:
            return Verdict(None, str(error), answered=False)
        return Verdict(parse_score(reply), reply, answered=True)

    def _reply(self, question: str) -> str:
        import requests

        ollama = self._endpoint.endswith("/api/chat")
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": question}]}
        body |= {"stream": False, "options": {"temperature": 0, "seed": 123}} if ollama else {"temperature": 0}
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with requests.post(self._endpoint, json=body, headers=headers, timeout=TIMEOUT,
                               allow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise TinygradError(f"the server says {answer.status_code} {answer.reason}")
                content = answer.json()
        except requests.ConnectionError as error:
            raise TinygradError("the server cannot be reached") from error
        except requests.Timeout as error:
            raise TinygradError("the server does not reply") from error
        except (requests.RequestException, ValueError) as error:
            raise TinygradError("the server's reply is not JSON") from error
        try:
            message = content["message"] if ollama else content["choices"][0]["message"]
            return str(message["content"] or message.get("refusal") or "")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise TinygradError("the server's reply has no message") from error

    @property
    def _endpoint(self) -> str:
        url = self.url.rstrip("/")
        if url.endswith("/api"):
            return url + "/chat"
        return url if url.endswith(("/api/chat", "/chat/completions")) else url + "/chat/completions"


def parse_score(reply: str) -> int | None:
    """The whole number from 0 to 100 that a reply gives; None if it gives none, or several."""
    text = re.sub(r"<think>.*?</think>", "", reply, flags=re.DOTALL)
    text = re.sub(r"(?:/|\bout of)\s*100\b", "", text)
    numbers = re.findall(r"-?\d+(?:[.,]\d+)*", text)
    return int(numbers[0]) if len(numbers) == 1 and re.fullmatch("[0-9]{1,3}", numbers[0]) and int(
        numbers[0]) <= 100 else None
