"""Let a model respond to entries whose good responses are known, and score what it says."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tinygrad_gpt.checkpoints.transfer import shown_address
from tinygrad_gpt.data.instructions import Entries, Instruction, read_instructions, split_in_order
from tinygrad_gpt.data.prompt_styles import Style
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.figures.text_scores import exact_match, rouge_l, token_f1
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.recipes.generate import GenerateConfig
from tinygrad_gpt.recipes.instructions.instruct import Sequences, encode, total_loss
from tinygrad_gpt.recipes.instructions.judge import Judge, Verdict
from tinygrad_gpt.recipes.instructions.respond import responses
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["PARTS", "ResponseReport", "Scored", "evaluate_instructions", "read_part"]

PARTS = ("all", "train", "validation", "test")
BATCH = 16
SCORES = {"exact_match": exact_match, "rouge_l": rouge_l, "token_f1": token_f1}


@dataclass(frozen=True)
class Scored:
    """One response with its scores, a line of the output file."""

    instruction: str
    input: str
    output: str
    response: str
    stopped_by: str
    exact_match: float
    rouge_l: float
    token_f1: float
    verdict: Verdict | None


@dataclass(frozen=True)
class ResponseReport:
    """Figures of all responses.

    Args:
        count: responses.
        unfinished: those that were cut at the largest number of tokens.
        truncated: those whose prompt was longer than the model reads.
        exact_match, rouge_l, token_f1: means, 0 to 1.
        repeating: the same three of a baseline that repeats the input of each entry, or its instruction without one.
        bits_per_byte: how well the model foresees the outputs that the entries have, ends included, in bits per byte
            of theirs; None if it could read none of them whole.
        judged: mean score of the judge, 0 to 100, over those that have one; None if none has.
        scored, without_number, without_reply: responses that the judge scored, those where its reply held no score
            (a refusal, for example), and those where its server failed. All 0 without a judge.
    """

    count: int
    unfinished: int
    truncated: int
    exact_match: float
    rouge_l: float
    token_f1: float
    repeating: dict[str, float]
    bits_per_byte: float | None
    judged: float | None
    scored: int
    without_number: int
    without_reply: int

    def to_dict(self) -> dict:
        """As plain JSON values."""
        return asdict(self)


def read_part(path: str | Path, part: str = "all", *, skip_malformed: bool = False) -> Entries[Instruction]:
    """The entries of a file, or one part of them as `split_in_order` cuts it; with how many of the file were skipped.

    Raises:
        DataError: as `read_instructions` and `split_in_order`.
    """
    entries = read_instructions(path, skip_malformed=skip_malformed)
    chosen = Entries[Instruction](entries if part == "all" else getattr(split_in_order(entries, path), part))
    chosen.skipped = entries.skipped
    return chosen


def evaluate_instructions(saved: SavedModel, entries: Sequence[Instruction], style: Style, output: str | Path, *,
                          max_new_tokens: int = 128, judge: Judge | None = None,
                          report: Callable[[int, int], None] = lambda done, total: None) -> ResponseReport:
    """Respond to each entry, always with the likeliest token, and score the responses.

    Args:
        output: JSON Lines, a response and its scores on each; written before the judge is asked, and again after.
        max_new_tokens: longest response.
        judge: another model that scores the responses.
        report: called with how many responses are written, then judged, and how many that shall be.

    Raises:
        TinygradError: "cannot write (out/a.jsonl): …", before anything is computed where the folder does not exist;
            "cannot ask the judge (http://…): …" if it does not reply to the first question.
    """
    if not Path(output).absolute().parent.is_dir():
        raise TinygradError(f"cannot write ({output}): its folder does not exist; make it, or choose another")
    config = GenerateConfig(temperature=0, max_new_tokens=max_new_tokens)
    total = len(entries) * (2 if judge else 1)
    scored: list[Scored] = []
    truncated = 0
    for start in range(0, len(entries), BATCH):
        batch = entries[start:start + BATCH]
        for entry, completion in zip(batch, responses(saved, batch, style, config), strict=True):
            text = completion.text.strip()
            truncated += completion.truncated
            scored.append(Scored(entry.instruction, entry.input, entry.output, text, completion.stopped_by,
                                 **_scores(text, entry.output), verdict=None))
        report(len(scored), total)
    _write(output, scored)
    if judge:
        scored = _judged(judge, entries, scored, lambda done: report(len(entries) + done, total))
        _write(output, scored)
    return _summary(scored, truncated, _bits_per_byte(saved, entries, style))


def _scores(response: str, output: str) -> dict[str, float]:
    return {name: score(response, output) for name, score in SCORES.items()}


def _bits_per_byte(saved: SavedModel, entries: Sequence[Instruction], style: Style) -> float | None:
    """Of the outputs that the model can read whole, behind their prompts."""
    read, size = Sequences([], [], 0, 0), 0
    for entry in entries:
        one = encode(saved.tokenizer, style, [entry], [entry.output], saved.n_ctx)
        if one.tokens and not one.truncated:
            read.tokens.extend(one.tokens)
            read.prompts.extend(one.prompts)
            size += len(entry.output.encode())
    if not size:
        return None
    nats, _ = total_loss(saved.transformer, read, saved.tokenizer.eot_id, "response")
    return nats / math.log(2) / size


def _judged(judge, entries, scored, report):
    result: list[Scored] = []
    for entry, one in zip(entries, scored, strict=True):
        verdict = judge.ask(entry, one.response)
        if not result and not verdict.answered:
            raise TinygradError(f"cannot ask the judge ({shown_address(judge.url)}): {verdict.reply}; check "
                                "address, model and key")
        result.append(Scored(**{**vars(one), "verdict": verdict}))
        report(len(result))
    return result


def _write(output, scored):
    lines = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in scored)
    write_atomic(output, lines.encode(errors="replace"))


def _summary(scored: list[Scored], truncated: int, bits_per_byte: float | None) -> ResponseReport:
    def means(scores):
        return {name: sum(each[name] for each in scores) / len(scores) for name in SCORES}

    verdicts = [one.verdict for one in scored if one.verdict]
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    without_reply = sum(not verdict.answered for verdict in verdicts)
    return ResponseReport(
        count=len(scored), unfinished=sum(one.stopped_by == "max_new_tokens" for one in scored), truncated=truncated,
        **means([vars(one) for one in scored]),
        repeating=means([_scores(one.input or one.instruction, one.output) for one in scored]),
        bits_per_byte=bits_per_byte, judged=sum(scores) / len(scores) if scores else None, scored=len(scores),
        without_number=len(verdicts) - len(scores) - without_reply, without_reply=without_reply)
