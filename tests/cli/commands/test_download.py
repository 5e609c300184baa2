"""The command `download`: what it says, and how it ends."""

import errno
import os
import sys

import loopback
import pytest
import stand_ins

from tinygrad_gpt import files
from tinygrad_gpt.checkpoints import download, transfer
from tinygrad_gpt.cli import main
from tinygrad_gpt.cli.commands.download import command


@pytest.fixture(scope="module")
def listener():
    with loopback.serving(stand_ins.at("/gpt2")) as state:
        yield state


@pytest.fixture(autouse=True)
def server(listener, tmp_path, monkeypatch):
    listener.plan.clear()
    listener.asked.clear()
    stand_ins.replace_models(monkeypatch)
    monkeypatch.setattr(transfer, "PIECE", 1000)
    monkeypatch.setattr(transfer, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", str(tmp_path / "cache"))
    return listener


def failure(capsys, args, code):
    assert main(["download", *args]) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[-1].startswith("error: ")
    assert not [line for line in lines[:-1] if line.startswith("error: ")]
    return lines[-1]


def test_the_names_are_those_of_the_models(monkeypatch):
    monkeypatch.undo()
    assert list(command.params[0].type.choices) == list(download.MODELS)


def test_a_download_and_the_same_again(server, capsys, tmp_path):
    assert main(["download", "gpt2", "--from", f"{server.url}/gpt2"]) == 0
    out, err = capsys.readouterr()
    assert out == (f"gpt2 is in {tmp_path / 'cache' / 'gpt2'}\n"
                   "Use it: tinygrad-gpt generate --model gpt2 TEXT\n")
    assert err.splitlines() == ["model.safetensors: 4,000 bytes", "vocab.json: 8 bytes", "merges.txt: 9 bytes"]
    server.asked.clear()
    assert main(["download", "gpt2"]) == 0
    assert capsys.readouterr() == (out, "")
    assert server.asked == []


def test_into_a_folder(server, capsys, tmp_path):
    assert main(["download", "gpt2", "--from", f"{server.url}/gpt2", "--to", str(tmp_path / "here")]) == 0
    assert capsys.readouterr().out.endswith(f"generate --model {tmp_path / 'here'} TEXT\n")
    assert (tmp_path / "here" / "model.safetensors").read_bytes() == stand_ins.FILES["model.safetensors"]


def test_a_bar_on_a_terminal(server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    server.plan += [("cut", 2500)]
    assert main(["download", "gpt2", "--from", f"{server.url}/gpt2"]) == 0
    shown = capsys.readouterr().err
    assert "merges.txt: 100%" in shown
    assert "9.00/9.00" in shown


@pytest.mark.parametrize(("plan", "code", "text"), [
    ([("status", 404)], 1, "the server answers 404 Not Found; check the address"),
    ([("status", 500)] * 3, 1, "the server answers 500"),
    ([("cut", 1500)] + [("cut", 0)] * 4, 1, "run the command again, it goes on where it stopped"),
    ([("length", "3999")], 1, "it has 3,999 bytes, expected 4,000"),
])
def test_failures_of_the_server(server, capsys, plan, code, text):
    server.plan += plan
    assert text in failure(capsys, ["gpt2", "--from", f"{server.url}/gpt2"], code)
    assert download.downloaded("gpt2") is None


def test_a_wrong_digest(server, capsys, monkeypatch):
    monkeypatch.setitem(server.files, "/gpt2/model.safetensors", bytes(4000))
    line = failure(capsys, ["gpt2", "--from", f"{server.url}/gpt2"], 1)
    assert f"expected {download.MODELS['gpt2'].files[0][1][:16]}…; it was removed" in line
    assert not download.cache_folder().exists()


def test_a_full_disk(server, capsys, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.system, "write", full)
    assert "no space left on device; free some space" in failure(capsys, ["gpt2", "--from", server.url + "/gpt2"], 4)
    assert download.downloaded("gpt2") is None


def test_no_room(server, capsys, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    line = failure(capsys, ["gpt2", "--from", f"{server.url}/gpt2"], 4)
    assert "it takes 4,000 bytes more and 10 are free" in line


def test_an_interrupt_and_the_same_again(server, capsys, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "sha256_of", interrupt)
        assert "SIGINT" in failure(capsys, ["gpt2", "--from", f"{server.url}/gpt2"], 130)
    assert main(["download", "gpt2", "--from", f"{server.url}/gpt2"]) == 0
    assert server.asked[1] == ("/gpt2/model.safetensors", "bytes=4000-")


@pytest.mark.parametrize(("args", "code", "text"), [
    ([], 2, "Missing argument 'MODEL'"), (["gpt3"], 2, "'gpt3' is not one of"), (["gpt2", "gpt2"], 2, "extra argument"),
    (["gpt2", "--from", "absent"], 1, "cannot read (absent): no such folder"), (["gpt2", "--from"], 2, "--from"),
    (["gpt2", "--from", "ftp://x"], 1, "the address does not begin with http://"),
    (["gpt2", "--from", "http://127.0.0.1:1", "--to", "/dev/null/x"], 1, "cannot make the folder (/dev/null/x)"),
])
def test_wrong_arguments(capsys, args, code, text):
    assert text in failure(capsys, args, code)


def test_the_model_is_known_by_its_name_afterwards(server, capsys, monkeypatch, tmp_path, shared_data):
    _, content = stand_ins.narrow_gpt2(tmp_path / "made", shared_data)
    stand_ins.replace_models(monkeypatch, content)
    monkeypatch.setattr(transfer, "PIECE", 100_000)
    generate = ["generate", "--model", "gpt2", "--max-new-tokens", "3", "Hello"]
    assert main(generate) == 1
    assert "download gpt2" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(server, "files", stand_ins.at("/narrow", content))
        assert main(["download", "gpt2", "--from", f"{server.url}/narrow"]) == 0
    capsys.readouterr()
    assert main(generate) == 0
    assert capsys.readouterr().out.startswith("Hello")


def test_no_home(server, capsys, monkeypatch):
    monkeypatch.delenv("TINYGRAD_GPT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert "no cache folder (HOME)" in failure(capsys, ["gpt2", "--from", f"{server.url}/gpt2"], 1)


def test_minilm_is_for_classifiers(server, capsys, shared_data, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("TINYGRAD_GPT_CACHE", str(tmp_path))
    assert main(["download", "minilm", "--from", str(shared_data / "models" / "minilm")]) == 0
    out, err = capsys.readouterr()
    assert out == (f"minilm is in {tmp_path / 'minilm'}\n"
                   "Use it: tinygrad-gpt finetune classifier --base minilm --data FILE --out DIR\n")
    assert err.splitlines()[0] == "model.safetensors: 90,868,376 bytes"
