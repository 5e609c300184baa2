"""`chat`: a conversation that outgrows the context of the model."""

import io

from tinygrad_gpt.cli import main


def test_a_conversation(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Say sun\n\n  \nSay snow\nSay code\n"))
    assert main(["chat", "--model", base, "--style", "phi3", "--max-new-tokens", "4"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    lines = err.splitlines()
    assert lines[1].startswith("the model reads 96 tokens of the conversation, 4 of which are kept for the next")
    assert [line for line in lines if line.startswith("turns that no longer fit")]


def test_a_long_response_leaves_room_for_the_conversation(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Say sun\n"))
    assert main(["chat", "--model", base, "--style", "phi3", "--max-new-tokens", "999"]) == 0
    assert "96 tokens of the conversation, 48 of which are kept for the next" in capsys.readouterr().err
