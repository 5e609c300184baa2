"""The table of derivatives: every field of every op is read, and the page in docs/ is the one that the code makes."""

from pathlib import Path

import pytest

from tinygrad_gpt.engine import OPS, op
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.study import derivatives
from tinygrad_gpt.study.derivatives import FIELDS, derivative, lecture, page, saved_by
from tinygrad_gpt.study.show import called_functions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "derivatives.md"


@pytest.fixture
def register():
    """Register an op with a given docstring, for one test."""

    def temporary(docstring):
        def documented(xp, x):
            def grad_x(g):
                return g

            return x, (grad_x,)

        documented.__doc__ = docstring
        return op(samples=lambda r: [(r.normal(2),)])(documented)

    yield temporary
    OPS.pop("documented", None)


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_field_of_every_op_is_read(name):
    d = derivative(OPS[name])
    assert d.op == name
    assert d.summary.endswith(".")
    for field in FIELDS:
        value = getattr(d, field.lower())
        assert value.strip() == value != ""
        assert not any(f"{other}:" in value for other in FIELDS)
        for line in value.splitlines():
            assert line in page()
    assert "->" in d.shapes


def test_a_field_of_several_lines_keeps_them_and_stays_aligned():
    d = derivative(OPS["layer_norm"])
    first, second = d.gradient.splitlines()
    assert first == "β̄ = Σ ȳ,  γ̄ = Σ ȳ ⊙ x̂,"
    assert second.startswith("x̄ = (d − mean(d)")
    lines = d.definition().splitlines()
    assert lines[1] == f"Gradient: {first}"
    assert lines[2] == f"          {second}"


def test_the_page_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python cli.py derivatives`"


def test_the_page_has_a_section_for_every_op_and_a_link_to_each(register):
    register("Not of the package.")
    text = page()
    assert "### documented" not in text
    titles = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    assert sorted(titles) == sorted(set(OPS) - {"documented"})
    for name in titles:
        assert f"[{name}](#{name}" in text
    for line in text.splitlines():
        if "[Code](" in line:
            assert (PAGE.parent / line.split("[Code](")[1].rstrip(")")).resolve().is_file()


def test_the_links_lead_to_headings():
    text, seen, anchors = page(), {}, set()
    for line in text.splitlines():  # GitHub's rule: the second heading of the same text gets -1
        if line.startswith("#"):
            title = line.lstrip("# ").lower()
            seen[title] = seen.get(title, -1) + 1
            anchors.add(title if not seen[title] else f"{title}-{seen[title]}")
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links
    assert links <= anchors


def test_fences_are_closed():
    fences = [line for line in page().splitlines() if line.startswith("```")]
    assert fences == ["```text", "```"] * (len(fences) // 2)


def test_a_lecture_shows_code_pullbacks_helpers_and_the_composed_form():
    text = lecture(OPS["attention"])
    assert text.startswith("attention  (tinygrad_gpt/ops/attention.py:")
    for part in ("Gradient: v̄ = Uᵀ ȳ", "def grads(g):", "def visible_keys(",
                 "def attention(q, k, v, padding=None, keep=None, *, causal=True, p=0.0):",
                 "row_max"):
        assert part in text
    assert '"""Each query' not in text


@pytest.mark.parametrize(("name", "called"), [
    ("self_attention", {"split_heads", "attention", "visible_keys", "merge_heads"}), ("bias_gelu", {"gelu"}),
    ("max", {"kept_shape"}), ("linear_cross_entropy", set()), ("mul", set())])
def test_a_lecture_prints_all_that_the_op_calls(name, called):
    """Also what its helpers call; methods such as x.reshape are not taken for the op of that name."""
    assert {f.__name__ for f in called_functions(OPS[name].function)} == called
    assert all(f"def {f}(" in lecture(OPS[name]) for f in called)


def test_the_page_says_what_the_fast_form_saves():
    section = page().split("### bias_gelu\n")[1].split("###")[0]
    plain, fast = (sum(saved_by(OPS["bias_gelu"], form).values()) for form in ("plain", "fast"))
    assert "Saves:    x, h\n" in section
    assert f"Fast:     slope ({fast:,} bytes; plain {plain:,})" in section
    assert plain == 2 * fast == 2 * 4 * 2 * 119 * 35


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_numbered_lines_are_the_lines_of_the_file(name):
    functions = [OPS[name].function, OPS[name].composed or OPS[name].function, *called_functions(OPS[name].function)]
    files = [Path(function.__code__.co_filename).read_text(encoding="utf-8").splitlines() for function in functions]
    shown = [line.split(None, 1) for line in lecture(OPS[name]).splitlines() if line.lstrip()[:1].isdigit()]
    assert any(code[0].startswith("return") for _, *code in shown if code)
    for number, *code in shown:
        assert "".join(code) in [lines[int(number) - 1].strip() for lines in files if len(lines) >= int(number)]


def test_a_missing_field_is_named(register):
    documented = register("One sentence.\n\n    Forward:  y = x\n    Shapes:   x -> y\n    Saves:    nothing\n")
    with pytest.raises(UsageError, match=r"op 'documented'\): its docstring has no Gradient, Source; write one line"):
        derivative(documented)


def test_a_missing_docstring_is_named(register):
    with pytest.raises(UsageError, match=r"op 'documented'\): it has no docstring"):
        derivative(register(None))


def test_without_docstrings_the_reason_is_said(register, monkeypatch):
    monkeypatch.setattr(derivatives.sys, "flags", type("Flags", (), {"optimize": 2}))
    with pytest.raises(UsageError, match="python -OO removes docstrings"):
        derivative(register(None))


def test_code_without_a_file_is_refused():
    names = {}
    exec("def typed(xp, x):\n    'Forward: y'\n    return x, ()", names)
    with pytest.raises(UsageError, match=r"no source \(typed\)"):
        derivatives.numbered_source(names["typed"])
