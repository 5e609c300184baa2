"""Another model, behind an address, that scores responses."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tinygrad_gpt.checkpoints.transfer import shown_address
from tinygrad_gpt.data.instructions import Instruction
from tinygrad_gpt.errors import TinygradError, UsageError

__all__ = ["KEY_VARIABLE", "Judge", "Verdict", "parse_score"]

KEY_VARIABLE = "TINYGRAD_GPT_JUDGE_KEY"
TIMEOUT = 10.0, 300.0  # seconds: to connect, and for the whole reply
MAX_REPLY = 2**20  # bytes, decompressed
PIECE = 2**12  # bytes
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
        import requests

        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            requests.Request("POST", self._endpoint).prepare()
        except (requests.RequestException, ValueError):  # a bad port, bracket or character
            good = False
        if not good:
            raise UsageError(f"judge is {shown_address(self.url)!r}, expected an address such as "
                             "http://localhost:11434/api")
        if not self.model:
            raise UsageError("judge_model is '', expected the name of a model of the judge's server")

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
        ollama = self._endpoint.endswith("/api/chat")
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": question}]}
        body |= {"stream": False, "options": {"temperature": 0, "seed": 123}} if ollama else {"temperature": 0}
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        content = _within(TIMEOUT[1], lambda: _posted(self._endpoint, body, headers))
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


def _posted(url: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    """The JSON that a server replies."""
    import requests

    try:
        with requests.post(url, json=body, headers=headers, timeout=TIMEOUT, allow_redirects=False,
                           stream=True) as answer:
            if answer.status_code != 200:
                raise TinygradError(f"the server says {answer.status_code} {answer.reason[:80]}")
            data = bytearray()
            for piece in answer.iter_content(PIECE):
                data += piece
                if len(data) > MAX_REPLY:
                    raise TinygradError(f"the server's reply is larger than {MAX_REPLY >> 10} KiB")
            return json.loads(bytes(data))
    except requests.Timeout as error:
        raise TinygradError("the server does not reply") from error
    except requests.ConnectionError as error:
        raise TinygradError("the server cannot be reached") from error
    except (requests.RequestException, ValueError, RecursionError) as error:
        raise TinygradError("the server's reply is not JSON") from error


def _within(seconds: float, reply: Callable[[], Any]) -> Any:
    """What a function returns, or an error after some time: a server that sends a byte now and then never ends."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(reply())
        except BaseException as error:  # raised again where it is waited for
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TinygradError("the server does not reply")
    return outcome[0]


def parse_score(reply: str) -> int | None:
    """The whole number from 0 to 100 that a reply gives; None if it gives none, or several."""
    thought, end, said = reply.rpartition("</think>")  # of what is before it every <think> has an end: linear time
    text = re.sub(r"<think>.*?</think>", "", thought + end, flags=re.DOTALL) + said
    text = re.sub(r"(?:/|\bout of)\s*100\b", "", text)
    numbers = re.findall(r"-?\d+(?:[.,]\d+)*", text)
    return int(numbers[0]) if len(numbers) == 1 and re.fullmatch("[0-9]{1,3}", numbers[0]) and int(
        numbers[0]) <= 100 else None
