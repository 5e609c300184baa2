"""`generate`: what it prints."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.generate import command
from tinygrad_gpt.recipes import generate as recipe
from tinygrad_gpt.recipes.generate import GenerateConfig, Piece, generate
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, load_model

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def language(models):
    return str(models / "language.h5")


@pytest.fixture
def short(language):
    return ["generate", "--model", language, "--max-new-tokens", "12"]


def expected(language, prompts, **settings):
    return generate(load_model(language), prompts, GenerateConfig(**{"max_new_tokens": 12} | settings))


def shown(text):
    """As on a terminal: control characters escaped, line ends kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def test_the_prompt_and_what_follows(short, language, capsys):
    assert main([*short, "bug loop"]) == 0
    completion, = expected(language, ["bug loop"])
    assert capsys.readouterr() == (f"bug loop{shown(completion.text)}\n", "")


def test_several_texts_stand_between_lines(short, language, capsys):
    assert main([*short, "bug loop", "ice", "--num-samples", "2"]) == 0
    texts = [shown(c.prompt + c.text) for c in expected(language, ["bug loop", "ice"], n_samples=2)]
    assert capsys.readouterr() == ("\n---\n".join(texts) + "\n", "")


def test_json_has_every_field(short, language, capsys):
    assert main([*short, "--json", "bug\nloop", "ice", "--num-samples", "2", "--stop", "q"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert list(lines[0]) == ["prompt", "text", "ids", "logprobs", "stopped_by", "sample", "truncated"]
    for line, completion in zip(lines, expected(language, ["bug\nloop", "ice"], n_samples=2, stop=("q",)), strict=True):
        for name, value in line.items():
            assert value == (list(getattr(completion, name)) if isinstance(value, list) else getattr(completion, name))
    assert err == ""


OPTIONS = {"--temperature": ("temperature", 1.7), "--top-k": ("top_k", 3), "--top-p": ("top_p", 0.3),
           "--min-p": ("min_p", 0.9), "--repetition-penalty": ("repetition_penalty", 30.0), "--seed": ("seed", 7),
           "--max-new-tokens": ("max_new_tokens", 5)}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_arrives(option, short, language, capsys):
    name, value = OPTIONS[option]
    assert main([*short, "--json", "bug", option, str(value)]) == 0
    ids = json.loads(capsys.readouterr().out)["ids"]
    assert ids == list(expected(language, ["bug"], **{name: value})[0].ids)
    assert ids != list(expected(language, ["bug"])[0].ids)


def test_ids_have_no_text_to_stop_at(short, capsys):
    assert main([*short, "--ids", "5 17", "--stop", "7"]) == 2
    assert capsys.readouterr().err == (
        "error: --stop, --ids (arguments): a text to stop at has no meaning in ids; leave one out\n")


def test_temperature_zero_is_greedy(short, capsys):
    outputs = []
    for seed in "01":
        assert main([*short, "bug", "--temperature", "0", "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_the_defaults_are_those_of_the_recipe():
    fields = {option.name: option.default for option in command.params}
    config = GenerateConfig()
    for name in ("temperature", "top_p", "repetition_penalty", "seed", "max_new_tokens", "n_samples"):
        assert fields[name] == getattr(config, name), name
    assert config.top_k is config.min_p is None
    assert SHIPPED_BASE in next(option.help for option in command.params if option.name == "model")


@pytest.mark.parametrize(("name", "content", "args"), [
    ("a.txt", "bug loop\nice\n", []), ("a.csv", 'id,text\n1,bug loop\n2,"ice"\n', []),
    ("a.jsonl", '{"words": "bug loop"}\n{"words": "ice"}\n', ["--text-column", "words"]),
    ("latin.txt", "bug loop\nice\n".encode("utf-16"), ["--encoding", "utf-16"])])
def test_prompts_from_files(name, content, args, short, language, tmp_path, capsys):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main([*short, "--json", "--file", str(tmp_path / name), *args]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == [c.text for c in expected(language, ["bug loop", "ice"])]


def test_notes_on_long_prompts_and_classifiers(short, model, capsys):
    assert main([*short, "ice " * 20, "ice"]) == 0
    assert capsys.readouterr().err == ("1 of 2 texts follow a prompt longer than the 16 tokens that the model reads; "
                                       "its beginning was not read\n")
    assert main(["generate", "--model", model, "--max-new-tokens", "2", "ice"]) == 0
    assert capsys.readouterr().err == "the model is a classifier; its language model wrote this\n"


def test_what_a_model_writes_cannot_harm_a_terminal(short, monkeypatch, capsys):
    pieces = ["a\x1b[31m", "\x1b", "]0;x\x07", "\u202eb\r", "é\t\n日", "\x9b"]
    monkeypatch.setattr(recipe, "stream", lambda saved, prompts, config: (Piece(0, text, None) for text in pieces))
    assert main([*short, "p\x1b"]) == 0
    assert capsys.readouterr().out == "p\\x1ba\\x1b[31m\\x1b]0;x\\x07\\u202eb\\ré\t\n日\\x9b\n"


def test_a_failure_later_on_stands_on_a_line_of_its_own(short, monkeypatch, capsys):
    def broken(saved, prompts, config):
        yield Piece(0, " and", None)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "stream", broken)
    assert main([*short, "bug"]) == 130
    out, err = capsys.readouterr()
    assert out == "bug and\n"
    assert err.startswith("error: interrupted (SIGINT)")


# -- in a process of its own


def start(*args, **settings):
    return subprocess.Popen([sys.executable, REPOSITORY / "cli.py", "generate", *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **settings)


def test_the_text_appears_while_it_is_written(language):
    process = start("--model", language, "--max-new-tokens", "1000000", "bug loop")
    try:
        read = b""
        while len(read) < 300:  # with a million to come
            piece = os.read(process.stdout.fileno(), 4096)
            assert piece
            read += piece
        assert read.startswith(b"bug loop")
        assert process.poll() is None
    finally:
        process.stdout.close()  # the reader goes away
        errors = process.stderr.read()
        process.stderr.close()
        assert (process.wait(timeout=60), errors) == (0, b"")


def test_a_character_is_never_broken(language):
    """Untrained, the model draws bytes that are no text: what is shown is valid UTF-8 at every moment."""
    process = start("--model", language, "--max-new-tokens", "150", "--temperature", "3", "--top-p", "1", "é",
                    env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    out = b""
    while piece := os.read(process.stdout.fileno(), 1):
        out += piece
        time.sleep(0)
    text = out.decode()
    errors = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (0, b"")
    assert "\ufffd" in text
    assert re.search(r"\\x[01][0-9a-f]", text)
    assert text == "é" + shown(expected(language, ["é"], max_new_tokens=150, temperature=3, top_p=1)[0].text) + "\n"


def test_prompts_from_standard_input(language):
    process = start("--model", language, "--max-new-tokens", "3", "--json", "--file", "-", stdin=subprocess.PIPE)
    out, err = process.communicate(b"bug loop\nice\n", timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["bug loop", "ice"]


def test_an_ascii_terminal_gets_escapes(language):
    process = start("--model", language, "--max-new-tokens", "3", "é", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"\\xe9")


def test_special_tokens_of_a_prompt_are_text_unless_allowed(short, language, capsys):
    prompt = "bug<|endoftext|>ice"
    answers = {}
    for options in ((), ("--allow-special",)):
        assert main([*short, "--json", prompt, *options]) == 0
        out, err = capsys.readouterr()
        answers[options] = json.loads(out)["ids"]
        assert err == ("" if options else "<|endoftext|> in the text: read as text, not as special tokens; "
                                          "--allow-special reads them as tokens\n")
    assert answers[()] == list(expected(language, [prompt])[0].ids)
    assert answers[("--allow-special",)] == list(expected(language, [prompt], allow_special=True)[0].ids)
    assert answers[()] != answers[("--allow-special",)]
