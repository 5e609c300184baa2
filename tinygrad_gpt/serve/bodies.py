"""What requests and answers hold: their fields, with types and ranges, from which the description is made, too."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import DataError

__all__ = [
    "Answer",
    "Chat",
    "Classified",
    "Classify",
    "Explanation",
    "Failure",
    "Generate",
    "Health",
    "Message",
    "Model",
    "Served",
    "Word",
    "Written",
    "read",
]

LONGEST_TEXT = 100_000  # characters
MOST_TEXTS = 256
MOST_MESSAGES = 64
MOST_TOKENS = 4096


def _without_null(text: str) -> str:
    if "\0" in text:
        raise ValueError("the text has a null character")
    return text


def _with_words(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


AnyText = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_without_null)]
Text = Annotated[AnyText, AfterValidator(_with_words)]
Stop = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_null)]
ModelName = Annotated[str | None, Field(max_length=200, description="One of /api/models; the task's first by default.")]


class _Body(BaseModel):
    """A request: nothing is converted, and a field that is not known is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


Body = TypeVar("Body", bound=_Body)


class Classify(_Body):
    """Texts to label."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS, description="What to label.",
                                       examples=[["WINNER!! Claim your free prize now"]])]
    model: ModelName = None
    explain: Annotated[bool, Field(description="Say which words moved each decision.")] = False


class _Writing(_Body):
    """How to write."""

    model: ModelName = None
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="Longest answer, in tokens.")] = 200
    temperature: Annotated[float, Field(ge=0, le=100, description="0 always takes the likeliest token.")] = 0.8
    top_k: Annotated[int | None, Field(ge=1, le=10**9, description="Draw from the K likeliest tokens.")] = None
    top_p: Annotated[float, Field(gt=0, le=1, description="Draw from the likeliest tokens that together have "
                                                          "probability P.")] = 0.95
    min_p: Annotated[float | None, Field(ge=0, le=1, description="Draw from tokens at least P times as likely as the "
                                                                 "likeliest.")] = None
    repetition_penalty: Annotated[float, Field(gt=0, le=1e6, description="Above 1 makes tokens that the text has less "
                                                                         "likely.")] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="Seed of the draws.")] = 0
    stream: Annotated[bool, Field(description="Send each piece as it is written, one line of JSON each.")] = False


class Generate(_Writing):
    """A text to continue."""

    prompt: Annotated[AnyText, Field(description="What to continue.", examples=["Once upon a time"])]
    stop: Annotated[list[Stop], Field(max_length=16, description="The text ends before the first of these.")] = []


class Message(_Body):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: Text


class Chat(_Writing):
    """A conversation to go on with; the user's last message waits for its answer."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES, description="From the first to "
                                             "the user's last.", examples=[[{"role": "user", "content": "Hello"}]])]
    style: Annotated[Literal[tuple(STYLES)] | None,  # type: ignore[valid-type]
                     Field(description="Marks around the messages; those that the model was tuned with by "
                                       "default.")] = None

    @model_validator(mode="after")
    def _takes_turns(self) -> Self:
        if any(message.role != ("user", "assistant")[i % 2] for i, message in enumerate(self.messages)) or (
                self.messages[-1].role != "user"):
            raise ValueError("the messages do not take turns from user to user")
        return self


class Word(BaseModel):
    """A word of a text, and its part of the log-odds of the label; above 0 it speaks for the label."""

    text: str
    weight: float


class Explanation(BaseModel):
    """The words of what was read; their weights add up to the log-odds beyond those of a neutral text."""

    score: Annotated[float, Field(description="Log-odds of the label.")]
    neutral: Annotated[float, Field(description="The same of a neutral text.")]
    words: list[Word]


class Answer(BaseModel):
    """The label of a text."""

    label: str
    probability: float
    probabilities: dict[str, float]
    unsure: Annotated[bool, Field(description="Whether the probability is below the one from which on the model's "
                                              "answers count.")]
    tokens: int
    truncated: Annotated[bool, Field(description="Whether the text was too long for the model to read its end.")]
    explanation: Explanation | None = None


class Classified(BaseModel):
    """The answers, in the order of the texts."""

    model: str
    answers: list[Answer]


class Written(BaseModel):
    """What was written; of a stream, a piece of it. The last line of a stream says why it ended."""

    text: str
    model: str | None = None
    tokens: int | None = None
    stopped_by: Annotated[str | None, Field(description="end of text, stop string, max_new_tokens, or time "
                                                        "limit.")] = None
    truncated: Annotated[bool | None, Field(description="Whether the prompt was too long for the model to read its "
                                                        "beginning.")] = None
    forgotten: Annotated[int | None, Field(description="The oldest turns of a chat that the model did not "
                                                       "read.")] = None


class Model(BaseModel):
    """A model that is served."""

    name: str
    tasks: list[str]
    labels: list[str]
    context: Annotated[int, Field(description="Tokens that it reads.")]
    parameters: int
    style: Annotated[str | None, Field(description="Of the instructions that it was tuned on.")] = None


class Served(BaseModel):
    """The models; the first that can do a task is its default, in a chat the first that was tuned on instructions."""

    models: list[Model]


class Health(BaseModel):
    """That the server answers, and what waits for its compute thread."""

    status: str
    texts_waiting: int
    jobs_waiting: int
    jobs_running: int


class Failure(BaseModel):
    """Why a request failed, in one line: WHAT (WHERE): WHY; TRY."""

    error: str


def read(kind: type[Body], body: bytes) -> Body:
    """A request from its JSON.

    Raises:
        DataError: "bad request (texts.1): input should be a valid string; …", of the first fault.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(ascii(part)[1:-1] if isinstance(part, str) else str(part) for part in fault["loc"]) or "body"
    why = fault["msg"].removeprefix("Value error, ")
    raise DataError(f"bad request ({where[:60]}): {why[:1].lower()}{why[1:120]}; the fields and their ranges are in "
                    "/openapi.json")
