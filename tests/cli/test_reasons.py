"""Reasons in a terminal: colours only where they are shown, and nothing that the terminal would obey."""

import io

from tinygrad_gpt.cli.reasons import print_reason
from tinygrad_gpt.recipes.classification.attribution import Attribution, Part

FOUND = Attribution("spam", 2.5, -0.5, (Part("call", 0.1, 2.0), Part(" me\x1b[2J", 0.0, -1.0), Part(" now", 0.0, 0.01),
                                        Part("\n", 0.0, 0.0)))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    print_reason(FOUND)
    return screen.getvalue()


LISTED = "    log-odds +2.50, of a neutral text -0.50; most by: +2.00 call   -1.00 me\\x1b[2J   +0.01 now"


def test_a_pipe_has_the_largest_words(capsys):
    print_reason(FOUND)
    assert capsys.readouterr().out.splitlines()[0].startswith(LISTED)


def test_a_terminal_has_the_text_in_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, listed = on_terminal(monkeypatch).split("\n")[:2]
    black, red, blue, plain = "\x1b[38;5;16m", "\x1b[48;5;203m", "\x1b[48;5;153m", "\x1b[0m"
    assert coloured.startswith(f"    {black}{red}call{plain}{black}{blue} me\\x1b[2J{plain}")
    assert " now" in coloured
    assert listed.startswith(LISTED)


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in on_terminal(monkeypatch)
