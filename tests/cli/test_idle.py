"""Options that change nothing beside others are named in one line; those that do are not."""

import click
import pytest
import tiny

from tinygrad_gpt.cli import COMMANDS, main
from tinygrad_gpt.cli.commands import finetune
from tinygrad_gpt.cli.commands.experiments import IDLE as EXPERIMENTS
from tinygrad_gpt.cli.commands.finetune_classifier import IDLE as CLASSIFIER
from tinygrad_gpt.cli.commands.pretrain import IDLE as PRETRAIN
from tinygrad_gpt.cli.idle import DRAWING, LORA, SOURCE, note_idle

RULES = {
    "finetune classifier": CLASSIFIER, "finetune instructions": [LORA], "finetune preferences": [LORA],
    "pretrain": PRETRAIN, "experiments": EXPERIMENTS, "generate": [*DRAWING, SOURCE], "respond": DRAWING,
    "chat": DRAWING, "classify": [SOURCE],
}
# Command, options, and what the line names; None: all of them have an effect.
CASES = [
    ("finetune classifier", "--rank 4 --alpha 8", "--rank, --alpha: no effect without --train lora"),
    ("finetune classifier", "--train lora --rank 4 --targets q,v", None),
    ("finetune classifier", "--n-layer 2 --vocab-size 300", "--vocab-size, --n-layer: no effect without --base random"),
    ("finetune classifier", "--n-ctx 8 --n-embd 8 --n-head 1 --vocabulary v",
     "--vocabulary, --n-ctx, --n-embd, --n-head: no effect without --base random"),
    ("finetune classifier", "--base random --n-layer 2 --vocab-size 300", None),
    ("finetune classifier", "--base random --vocabulary gpt2 --vocab-size 300", "--vocab-size: no effect beside"),
    ("finetune classifier", "--split book --split-seed 3", "--split-seed: no effect without --split by-text"),
    ("finetune classifier", "--split-seed 3", None),
    ("finetune classifier", "--read last", "--read: no effect without --padding fixed"),
    ("finetune classifier", "--read last --padding fixed", None),
    ("finetune classifier", "--read last-real", None),
    ("finetune classifier", "--decay all --weight-decay 0", "--decay: no effect at --weight-decay 0"),
    ("finetune classifier", "--decay all", None),
    ("finetune classifier", "--train head --lm-weight 0.5", "--lm-weight: no effect with --train head"),
    ("finetune classifier", "--train head --lm-weight 0", None),
    ("finetune instructions", "--alpha 8", "--alpha: no effect without --train lora"),
    ("finetune instructions", "--train lora --alpha 8", None),
    ("finetune preferences", "--targets q", "--targets: no effect without --train lora"),
    ("pretrain", "--base b --tokenizer bpe --tied --qkv-bias --init gpt2",
     "--tokenizer, --qkv-bias, --tied, --init: no effect beside --base"),
    ("pretrain", "--vocabulary v --tokenizer bpe", "--tokenizer: no effect beside --vocabulary"),
    ("pretrain", "--tokenizer bpe --init gpt2", None),
    ("experiments", "--rows 1-5 --vocabulary v", "--vocabulary: no effect without a row of random weights"),
    ("experiments", "--rows 10 --base b", "--base: no effect without a row that starts from a model"),
    ("experiments", "--base b --vocabulary v", None),
    ("experiments", "--family-text t --family-steps 3", "--family-text, --family-steps: no effect without"),
    ("experiments", "--base family --family-text t --family-steps 3", None),
    ("generate", "x --temperature 0 --top-k 3 --seed 4", "--top-k, --seed: no effect at temperature 0"),
    ("generate", "x --temperature 0 --top-p 0.5 --min-p 0.1", "--top-p, --min-p: no effect at temperature 0"),
    ("generate", "x --temperature 0 --repetition-penalty 2", None),
    ("generate", "x --top-k 1 --temperature 2 --seed 1", "--temperature, --seed: no effect where"),
    ("generate", "x --top-p 0 --min-p 0.5", "--top-p, --min-p: no effect where --top-k or --top-p leaves"),
    ("generate", "x --top-k 2 --temperature 2 --seed 1 --min-p 0.1", None),
    ("generate", "x --encoding utf-16", "--encoding: no effect without --file"),
    ("generate", "--file f --encoding utf-16", None),
    ("respond", "x --top-p 0.5", "--top-p: no effect at temperature 0"),
    ("respond", "x --top-p 0.5 --temperature 1", None),
    ("chat", "--seed 5", "--seed: no effect at temperature 0"),
    ("classify", "x --encoding utf-16 --skip-malformed", "--encoding, --skip-malformed: no effect without --file"),
    ("classify", "--file f --encoding utf-16 --skip-malformed", None),
]


def parsed(name, options):
    """The context of a command that is given these options, and what it needs besides."""
    group, _, rest = name.partition(" ")
    from importlib import import_module

    command = import_module((finetune.COMMANDS[rest] if rest else COMMANDS[group])[0]).command
    needed = [f"{param.opts[0]}=x" for param in command.params if param.required and isinstance(param, click.Option)
              and param.opts[0] not in options]
    return command.make_context(name, [*options.split(), *needed], obj=None)


@pytest.mark.parametrize(("name", "options", "line"), CASES)
def test_an_option_without_effect_is_named(name, options, line, capsys):
    note_idle(parsed(name, options), RULES[name])
    err = capsys.readouterr().err
    assert err == "" if line is None else err.startswith(line)
    assert err.count("\n") == (line is not None)


def test_every_rule_has_a_case_in_which_it_holds(capsys):
    for name, rules in RULES.items():
        whys = "".join(line or "" for command, _, line in CASES if command == name)
        for rule in rules:
            if rule.names and not (name in ("respond", "chat") and rule is DRAWING[1]):
                assert f"no effect {rule.why.split()[0]}" in whys, (name, rule)


@pytest.mark.parametrize(("args", "line"), [
    (["finetune", "classifier", "--rank", "4", "--epochs", "1"], "--rank: no effect"),
    (["finetune", "instructions", "--rank", "4", "--epochs", "1", "--samples", "0"], "--rank: no effect"),
    (["finetune", "preferences", "--rank", "4", "--epochs", "1", "--samples", "0"], "--rank: no effect"),
    (["pretrain", "--steps", "1", "--tied"], "--tied: no effect"),
])
def test_a_run_says_it_before_it_trains(args, line, models, tmp_path, capsys):
    data = {"classifier": tiny.labelled_file, "pretrain": tiny.text_file}.get(args[0] if args[0] == "pretrain" else
                                                                             args[1])
    file = (data(tmp_path / ("a.txt" if args[0] == "pretrain" else "a.csv")) if data else
            tiny.instruction_file(tmp_path / "a.json", chosen="ice", rejected="sand"))
    base = ["--base", str(models / "language.h5")] if "instructions" not in args and "preferences" not in args else []
    assert main([*args, "--data", str(file), *base, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.splitlines()[0].startswith(line)
    assert main([*args[:2 if args[0] == "finetune" else 1], "--resume", "--out", str(tmp_path / "run")]) == 0
    assert "no effect" not in capsys.readouterr().err


@pytest.mark.parametrize(("options", "said"), [
    ([], True), (["--sample", "a", "--sample-every", "1"], True), (["--sample", "a"], False),
    (["--hold-out", "0.2"], False)])
def test_a_pretraining_that_evaluates_nothing_says_so_in_its_summary(options, said, models, tmp_path, capsys):
    args = ["pretrain", "--data", str(tiny.text_file(tmp_path / "a.txt")), "--base", str(models / "language.h5"),
            "--steps", "1", "--eval-every", "1", "--out", str(tmp_path / "run")]
    assert main([*args, *options]) == 0
    assert ("--eval-every had no effect: " in capsys.readouterr().out) == said


def test_show_mask_needs_data_and_resumes_nothing(tmp_path, capsys):
    assert main(["finetune", "instructions", "--show-mask", "1", "--resume", "--out", str(tmp_path)]) == 2
    assert "Missing option '--data'" in capsys.readouterr().err
