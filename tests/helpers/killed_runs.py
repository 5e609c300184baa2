"""Train a tiny model while being killed at every step: `python killed_runs.py FOLDER PLACES`.

Makes FOLDER/whole, an uninterrupted run, and FOLDER/killed, the same run killed 60 times with SIGKILL and resumed
after each. Kill number k happens in step k, at PLACES: "steps", right after the step, or "inside", in the middle of an
accumulation window, an evaluation or a file operation of a save, whatever the step has. Prints how many were killed.
"""

import os
import signal
import sys
from pathlib import Path

import tiny

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.recipes.pretraining import pretrain as recipe
from tinygrad_gpt.recipes.pretraining import task as pretrain_task
from tinygrad_gpt.runs import run as runs
from tinygrad_gpt.runs.folder import holds_run

STEPS = 60


def settings(folder):
    """A run with a bit of everything that a step may depend on."""
    text = str(tiny.text_file(folder / "text.txt", documents=2))
    return recipe.PretrainConfig(
        (text,), hold_out=0.2, vocabulary=str(folder / "vocabulary.json"), n_ctx=8, n_embd=8, n_layer=1, n_head=2,
        dropout=0.2, windows="consecutive", stride=3, batch_size=2, accumulate=2, steps=STEPS, warmup=5,
        eval_every=6, save_every=5, patience=20, sample=("a bug",), sample_every=12)


def die(*args, **settings):
    os.kill(os.getpid(), signal.SIGKILL)


def die_inside(step):
    """Let this process be killed in the middle of what the step has to do."""
    train_step, measure_perplexity = runs.train_step, pretrain_task.measure_perplexity
    checkpoint = runs.Run.checkpoint
    now = [0]

    def training(losses, optimizer, *args):
        now[0] = optimizer.steps + 1
        if now[0] == step and step % 5 and step % 6:
            losses = [*losses[:1], die]
        return train_step(losses, optimizer, *args)

    def evaluating(model, tokens, *args, **settings):
        if now[0] == step and step % 5:
            measure_perplexity(model, tokens[:10], *args, **settings)
            die()
        return measure_perplexity(model, tokens, *args, **settings)

    def saving(run, log):
        if now[0] == step:
            die_at_operation(2 * step // 5)  # 2 to 24: in the curves, the samples and the state
        checkpoint(run, log)

    runs.train_step, pretrain_task.measure_perplexity, runs.Run.checkpoint = training, evaluating, saving


def die_at_operation(k):
    """Let this process be killed before its k-th file operation from now on."""
    done = [0]

    def counted(call):
        def operation(*args):
            done[0] += 1
            return die() if done[0] == k else call(*args)
        return operation

    for name, call in list(vars(files.system).items()):
        setattr(files.system, name, counted(call))


def go_on(folder, config, step, inside):
    """In the child: start or resume the run, and die in a step."""
    if inside:
        die_inside(step)
    report = (lambda progress: None) if inside else (lambda progress: die() if progress.step == step else None)
    if holds_run(folder):
        recipe.resume(folder, report=report)
    else:
        recipe.pretrain(config, folder, report=report)


def main(folder, places):
    pretrain_task.draw_curves = lambda path, *args, **settings: files.write_atomic(path, repr(args).encode())
    native._verify = lambda path: None  # reading back takes most of the time of these runs, and is tested elsewhere
    tiny.language_model().tokenizer.save(folder / "vocabulary.json")
    config = settings(folder)
    recipe.pretrain(config, folder / "whole")
    killed = 0
    for step in range(1, STEPS + 1):
        child = os.fork()
        if child == 0:
            try:
                go_on(folder / "killed", config, step, places == "inside")
            finally:
                os._exit(1)  # it should have been killed
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    recipe.resume(folder / "killed")
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
