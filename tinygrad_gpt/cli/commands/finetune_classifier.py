"""`finetune classifier`: a text classifier from labelled texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinygrad_gpt.cli.idle import LORA, Idle, note_idle
from tinygrad_gpt.cli.options import (
    Duration,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    columns_given,
    common_options,
    echo,
)
from tinygrad_gpt.cli.progress import PreparationLines
from tinygrad_gpt.cli.ranks import alone
from tinygrad_gpt.cli.resuming import given_settings, require, resumable
from tinygrad_gpt.cli.sections import SectionedCommand, attention_option, precision_option, section, shard_option
from tinygrad_gpt.cli.show import columns, note, note_half_precision, report_text

if TYPE_CHECKING:
    from tinygrad_gpt.recipes.classification.finetune import FinetuneResult
    from tinygrad_gpt.recipes.classification.search import Search, Trial

__all__ = ["command"]

IDLE = (
    LORA,
    Idle(("vocabulary", "vocab_size", "n_ctx", "n_embd", "n_layer", "n_head"), lambda given: given["base"] != "random",
         "without --base random, which makes a new model"),
    Idle(("vocab_size",), lambda given: given["base"] == "random" and given["vocabulary"] is not None,
         "beside --vocabulary"),
    Idle(("split_seed",), lambda given: given["split"] != "by-text", "without --split by-text"),
    Idle(("read",), lambda given: given["read"] == "last" and given["padding"] != "fixed",
         "without --padding fixed: the last position is that of the last real token"),
    Idle(("decay",), lambda given: given["weight_decay"] == 0, "at --weight-decay 0"),
    Idle(("pretrain_lr",), lambda given: not given["pretrain_epochs"], "without --pretrain-epochs"),
    Idle(("lm_weight",), lambda given: given["train"] == "head" and given["lm_weight"] > 0,
         "with --train head: the language model is not trained"),
    Idle(("layer_decay", "unfreeze"), lambda given: given["train"] == "head", "with --train head, which is one layer"),
)

data, start, model, reading, training, folder = map(section, (
    "Data", "Model to start from", "What is trained", "How a text is read", "Training", "Folder"))


@click.command(name="classifier", cls=SectionedCommand)
@data("--data", metavar="FILE",
      help="Labelled texts, required: .csv, .tsv, .jsonl, .xlsx or .parquet; text also compressed, as .csv.gz.")
@data("--text-column", metavar="COLUMN", help="Column of the texts, by name or number from 1.")
@data("--label-column", metavar="COLUMN", multiple=True, help="Column of the labels, by name or number from 1; "
      "given more than once, a text has those labels whose columns say 1, yes or true.")
@data("--label-separator", metavar="TEXT", help="What separates several labels in their column, such as ';'.")
@data("--classes", metavar="A,B,…", help="All labels, in the order that the model shall have.  [default: sorted]")
@data("--encoding", default="utf-8", help="Encoding of the file.")
@data("--skip-malformed", is_flag=True, help="Count malformed rows instead of refusing the file.")
@data("--test", metavar="FILE", help="Labelled texts to judge on.  [default: a fifth of those in --data]")
@data("--extra", metavar="FILE",
      help="More labelled texts of the same classes: 90 % are trained on, 10 % validate, none is judged.")
@data("--split", type=click.Choice(["by-text", "book", "book-experiments", "book-imdb"]), default="by-text",
      help="by-text: no text in two parts. The others are the two splits of the book's author, to compare with his "
           "figures: of SMSSpamCollection's 300 test texts 37 or 36 are in the training part as well.")
@data("--split-seed", type=NonNegativeInt(), default=123, help="Seed of the split by text.")
@start("--base", default="storyteller", metavar="MODEL",
       help="A GPT-2 or an encoder such as BERT: a checkpoint, a folder, a shipped model, one that was downloaded, or "
            "'random' for a new GPT-2.")
@start("--vocabulary", metavar="PATH",
       help="Vocabulary of a new model; gpt2 ships.  [default: one made of the training texts]")
@start("--vocab-size", type=PositiveInt(1_000_000), default=2048, help="Tokens of the vocabulary to make.")
@start("--n-ctx", type=PositiveInt(65_536), default=256, help="Longest sequence of a new model.")
@start("--n-embd", type=PositiveInt(65_536), default=192, help="Width of a new model.")
@start("--n-layer", type=PositiveInt(1000), default=4, help="Blocks of a new model.")
@start("--n-head", type=PositiveInt(1000), default=4, help="Attention heads of a new model.")
@start("--init", type=click.Choice(["gpt2", "book"]), default="gpt2",
       help="Initial values of what is new: as in GPT-2, or those of the book.")
@start("--pretrain-epochs", type=NonNegativeInt(10_000), default=0, metavar="N",
       help="Passes in which the base first learns to predict the training texts, without their labels: the next "
            "tokens, or with an encoder hidden ones.")
@start("--pretrain-lr", type=PositiveFloat(1.0), default=None,
       help="Highest learning rate in them.  [default: 0.0005; 0.0001 with an encoder]")
@start("--unlabelled", metavar="FILE", help="More texts, without labels, to predict or for teachers to label: one a "
       "line, or a table with the same column of texts.")
@model("--train", type=click.Choice(["head", "last-block", "last-two-blocks", "all", "lora"]), default="all",
       help="What is trained besides the head; head: nothing, lora: updates of low rank.")
@model("--rank", type=PositiveInt(65_536), default=16, help="Rank of LoRA's updates.")
@model("--alpha", type=PositiveFloat(), default=16.0, help="LoRA's updates are multiplied by alpha / rank.")
@model("--targets", default="q,k,v,attn.c_proj,mlp.c_fc,mlp.c_proj", metavar="LAYERS",
       help="Layers that LoRA adapts; add 'score' for the head.")
@reading("--read", type=click.Choice(["last-real", "last", "first", "mean", "concat"]), default=None,
         help="The position that the scores come from; 'last' may be padding; concat: the last real token, the mean "
              "and the maximum, side by side.  [default: last-real; mean with an encoder]")
@reading("--context", default="model", metavar="longest|model|N",
         help="Tokens of a text that are read: as the longest training text has, as the model takes, or N; beyond a "
              "GPT-2's context its positions are interpolated.")
@reading("--padding", type=click.Choice(["none", "dynamic", "fixed"]), default="dynamic",
         help="none: a text a batch; dynamic: to the longest of a batch; fixed: to the context, with tokens that are "
              "read.")
@reading("--no-causal-mask", is_flag=True, help="Let tokens see those after them.")
@reading("--no-start", is_flag=True, help="Do not begin texts with the end-of-text token.")
@training("--epochs", type=PositiveInt(10_000), default=6, help="Passes over the texts.")
@training("--batch-size", type=PositiveInt(4096), default=16, help="Texts computed together.")
@training("--accumulate", type=PositiveInt(4096), default=1, help="Batches in an optimiser step.")
@training("--order", type=click.Choice(["length", "book"]), default="length",
          help="length: texts of about the same length in a batch; book: the batches of the book's data loader.")
@training("--lr", type=PositiveFloat(1.0), default=None,
          help="Highest learning rate.  [default: 0.0005; 0.0001 with an encoder]")
@training("--schedule", type=click.Choice(["cosine", "constant"]), default="cosine",
          help="Course of the learning rate; the cosine has a warm-up.")
@training("--layer-decay", type=PositiveFloat(1.0), default=1.0,
          help="The rate of each layer is this times that of the layer above it.")
@training("--unfreeze", type=UnitInterval(), default=0.0,
          help="Share of the run in which layers begin to be trained, one after another from the top.")
@training("--average", type=NonNegativeInt(10_000), default=0, metavar="N",
          help="Average the weights over the steps of the last N epochs.")
@training("--weight-decay", type=UnitInterval(), default=0.1, help="Weight decay of AdamW.")
@training("--decay", type=click.Choice(["matrices", "all"]), default="matrices",
          help="What decays; all: biases and norms too, as in the book.")
@training("--max-norm", type=PositiveFloat(), default=1.0, help="Gradients are clipped to it.")
@training("--dropout", type=UnitInterval(), default=None,
          help="Dropout while training.  [default: 0.2; 0.1 with an encoder]")
@training("--head-dropout", type=UnitInterval(), default=0.0, help="Dropout of what goes into the head.")
@training("--hide", type=UnitInterval(), default=0.0, metavar="SHARE",
          help="Share of the tokens that are replaced by others while training.")
@training("--lm-weight", type=UnitInterval(), default=None,
          help="Weight of the language-model loss on the texts.  [default: 1; 0 with an encoder, which has none]")
@training("--teacher", "teachers", multiple=True, default=(), metavar="MODEL",
          help="Learn the probabilities of a finished classifier as well, or those of 'bag-of-words'; may be given "
               "more than once.")
@training("--recombined", type=NonNegativeInt(10_000_000), default=0, metavar="N",
          help="Let the teachers label this many texts made of pieces of the training texts.")
@training("--class-weights", type=click.Choice(["none", "balanced"]), default="none",
          help="balanced: classes count alike, however many texts they have.")
@training("--no-calibration", is_flag=True,
          help="Do not fit a temperature on the validation texts, 30 or more, that makes probabilities as sure as they "
               "are right.")
@training("--unsure-below", type=UnitInterval(), default=0.0, metavar="P",
          help="Below this probability the model's answers are 'unsure'; it is stored with the model.")
@training("--budget", type=Duration(), metavar="TIME",
          help="Find good settings within this time, 10m say: some are tried on the validation texts, the best kept.")
@precision_option(training)
@attention_option(training)
@shard_option(training)
@training("--seed", type=NonNegativeInt(), default=123, help="Seed of the head, the order of the texts and dropout.")
@folder("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
        help="Folder for settings, states, log, model, report and pictures.")
@folder("--save-every", type=PositiveInt(), default=100, help="Steps between states to resume from.")
@folder("--float16", is_flag=True, help="Store the weights in half precision.")
@folder("--resume", is_flag=True, help="Go on with the run in that folder; it knows its settings.")
@common_options
@click.pass_context
def command(ctx: click.Context, out: Path, resume: bool, budget: float | None, **settings: Any) -> None:
    """Train a text classifier on labelled texts.

    Of the texts 70 % are trained on, 10 % validate after each pass and 20 % are judged at the end, beside a bag of
    words. The same command gives the same model, bit for bit. A run that was stopped goes on with --resume.

    With --budget settings that you do not give are searched for.
    """
    from tinygrad_gpt.recipes.classification import finetune as recipe
    from tinygrad_gpt.recipes.classification.budget import find_setting, resume_search
    from tinygrad_gpt.recipes.classification.search import holds_search

    settings["label_column"] = columns_given(settings["label_column"])
    if not resume:
        require(ctx, data=settings["data"])
    note_half_precision(settings["precision"])
    with resumable(ctx, out) as (report, stop_here):
        if budget or (resume and holds_search(out)):
            alone("--budget")
            callbacks: dict[str, Any] = {"said": _say, "report": report, "ready": stop_here}
            if resume:
                wanted = given_settings(ctx, settings) | ({"budget": budget} if budget else {})
                searched = resume_search(out, wanted, **callbacks)
            else:
                note_idle(ctx, IDLE)
                searched = find_setting(recipe.FinetuneConfig(**settings), budget or 0,
                                        [*given_settings(ctx, settings)], out, **callbacks)
            echo("\n".join(_found(ctx, out, *searched)))
            return
        if resume:
            result = recipe.resume_classifier(out, given_settings(ctx, settings), report, PreparationLines(), stop_here)
        else:

            def ready() -> None:
                note_idle(ctx, IDLE)
                stop_here()

            result = recipe.finetune_classifier(recipe.FinetuneConfig(**settings), out, report, PreparationLines(),
                                                ready)
    if result.caution:
        note(result.caution)
    echo("\n".join(_summary(ctx, out, result)))


def _found(ctx: click.Context, out: Path, result: "FinetuneResult", search: "Search") -> list[str]:
    """What a search found: the verdict, what was tried, and the figures of the best."""
    if result.caution:
        note(result.caution)
    lines = _summary(ctx, out, result)
    verdict = lines[:1] if result.verdict else []
    return [*verdict, *trial_table(search), "", *lines[len(verdict):]]


def _say(trial: "Trial") -> None:
    note(f"{trial.setting}, {trial.epochs} epochs: validation accuracy {trial.accuracy:.4f} in {trial.seconds:.0f} s")


def trial_table(search: "Search") -> list[str]:
    """What was tried, a line each, the bag of words first and the best marked."""
    rows = [("tried", "epochs", "validation accuracy", "log loss", "seconds", "")]
    if search.baseline:
        rows.append(("bag of words, logistic regression", "", *_figures(search.baseline), ""))
    rows += [(trial.setting, str(trial.epochs), *_figures(vars(trial)), "kept" if trial is search.best() else "")
             for trial in search.trials]
    return [*columns(rows), f"{search.spent:.0f} of {search.seconds:.0f} seconds spent"]


def _figures(of: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{of['accuracy']:.4f}", f"{of['log_loss']:.4f}", f"{of['seconds']:.0f}"


def _summary(ctx: click.Context, out: Path, result: "FinetuneResult") -> list[str]:
    from tinygrad_gpt.recipes.classification.calibration import FEWEST

    lines = [result.verdict] if result.verdict else []
    lines += [result.counts, f"{result.truncated:,} texts truncated to {result.saved.classifier.longest_text} tokens",
              f"{result.trained:,} of {result.saved.model.size:,} numbers trained", ""]
    for title, figures in (("Validation", result.validation), ("Test", result.test)):
        lines += [title, report_text(figures), ""]
    fitted = result.calibration
    if fitted and fitted.temperature != 1:
        lines += [f"Scores divided by {fitted.temperature:.3f}: calibration error {fitted.validation_before:.4f} "
                  f"before, {fitted.validation_after:.4f} after on the validation texts; {fitted.test_before:.4f} and "
                  f"{fitted.test_after:.4f} on the test texts", ""]
    elif fitted and result.validation.count < FEWEST:
        lines += [f"Not calibrated: {result.validation.count} validation texts are fewer than {FEWEST}, which it takes "
                  "to say how sure the model is", ""]
    if result.baseline:
        lines += [f"A bag of words with logistic regression on the same test texts: accuracy "
                  f"{result.baseline.accuracy:.4f}, F1 {result.baseline.f1:.4f}", ""]
    files = ["model.h5", "report.json", "log.jsonl", "curves.png"]
    files += [] if result.saved.thresholds else ["confusion.png"]
    return [*lines, f"Written to {out}: {', '.join(files)}",
            f"Use it: {ctx.find_root().info_name} classify --model {out} TEXT"]
