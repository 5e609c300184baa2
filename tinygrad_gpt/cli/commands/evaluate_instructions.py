"""`evaluate instructions`: how good responses are."""

import os
from collections.abc import Mapping

import click

from tinygrad_gpt.cli.commands.respond import load
from tinygrad_gpt.cli.options import PositiveInt, common_options, echo, print_json
from tinygrad_gpt.cli.progress import counting_bar
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="instructions")
@click.option("--data", required=True, metavar="FILE", help="Entries with instruction, input and output.")
@click.option("--output", required=True, metavar="FILE", help="Where the responses and their scores go (.jsonl).")
@click.option("--model", default=None, metavar="PATH|NAME",
              help="A checkpoint, a run folder, or a shipped model.  [default: the shipped storyteller]")
@click.option("--style", type=click.Choice(["alpaca", "phi3", "chat"]), default=None,
              help="Marks around instruction and response.  [default: those that the model was tuned with]")
@click.option("--part", type=click.Choice(["all", "train", "validation", "test"]), default="all", show_default=True,
              help="All entries, or a part of the file as `finetune instructions` cuts it.")
@click.option("--skip-malformed", is_flag=True, help="Leave out malformed entries and count them.")
@click.option("--limit", type=PositiveInt(), default=None, metavar="N", help="Only the first N of them.")
@click.option("--max-new-tokens", type=PositiveInt(1_000_000), default=128, show_default=True,
              help="Longest response, in tokens.")
@click.option("--judge", default=None, metavar="URL",
              help="Let another model score the responses as well: the address of an OpenAI-compatible server, or of "
                   "Ollama (ends with /api). TINYGRAD_GPT_JUDGE_KEY may hold a key.")
@click.option("--judge-model", default=None, metavar="NAME", help="That model's name there.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@common_options
def command(data: str, output: str, model: str | None, style: str | None, part: str, skip_malformed: bool,
            limit: int | None, max_new_tokens: int, judge: str | None, judge_model: str | None,
            as_json: bool) -> None:
    """Score responses to instructions.

    Offline: exact match and F1 of the words (as SQuAD has them) and ROUGE-L, beside the output of each entry; and how
    likely the model finds those outputs, in bits per byte: lower is better, and models of any style can be compared.
    """
    if (judge is None) != (judge_model is None):
        raise UsageError("--judge and --judge-model (arguments): one is missing; give both or none")
    from tinygrad_gpt.files import sha256_of
    from tinygrad_gpt.recipes.instructions.evaluate import evaluate_instructions, read_part
    from tinygrad_gpt.recipes.instructions.judge import KEY_VARIABLE, Judge

    asked = None
    if judge is not None and judge_model is not None:
        asked = Judge(judge, judge_model, os.environ.get(KEY_VARIABLE))
    entries = read_part(data, part, skip_malformed=skip_malformed)
    saved, marks = load(model, style)
    if entries.skipped:
        note(f"{entries.skipped:,} malformed entries skipped")
    if part in ("all", "train") and sha256_of(data) in saved.provenance.get("sha256", {}).values():
        note("the model was trained on most of these entries; --part test leaves them out")
    with counting_bar("response") as report:
        result = evaluate_instructions(saved, entries[:limit], marks, output, max_new_tokens=max_new_tokens,
                                       judge=asked, report=report)
    if as_json:
        print_json(result.to_dict())
        return
    lines = [f"{result.count:,} responses, {result.unfinished:,} of them cut at {max_new_tokens:,} tokens, "
             f"{result.truncated:,} to prompts that the model could not read whole",
             _scores(vars(result)), f"{_scores(result.repeating)}, baseline: repeating the input or instruction"]
    if result.bits_per_byte is not None:
        lines.append(f"the expected outputs are foreseen with {result.bits_per_byte:.4f} bits per byte")
    if asked:
        mean = "no score" if result.judged is None else f"mean score {result.judged:.2f} of 100"
        lines += [f"{judge_model}: {mean} over {result.scored:,} responses; {result.without_number:,} replies without "
                  f"a score, {result.without_reply:,} times no reply"]
    echo("\n".join([*lines, f"Written to {output}"]))


def _scores(figures: Mapping[str, float]) -> str:
    return (f"exact match {figures['exact_match']:.4f}, ROUGE-L {figures['rouge_l']:.4f}, "
            f"token F1 {figures['token_f1']:.4f}")
