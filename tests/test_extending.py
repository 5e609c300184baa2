"""What docs/extending.md says about ops and backends is code that runs."""

import contextlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygrad_gpt.backend import loading as backend
from tinygrad_gpt.engine import OPS, Tensor, using_ops
from tinygrad_gpt.engine.functional import hvp, jacobian
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.study import Draw, check_op
from tinygrad_gpt.study.derivatives import derivative

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"


def blocks(section):
    """The Python blocks of one section of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


@pytest.fixture
def rms_norm():
    """The op of the page, taken out of the registry afterwards, and what the page's second block prints."""
    names, out = {"__name__": "my_ops"}, io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            for block in blocks("An op"):
                exec(compile(block, str(PAGE), "exec"), names)
        for block in blocks("A faster form of an op"):
            exec(compile(block, str(PAGE), "exec"), {"__name__": "my_fast_ops"})
        yield names["rms_norm"], out.getvalue(), names
    finally:
        OPS.pop("rms_norm", None)


def test_the_op_of_the_page_passes_the_check(rms_norm):
    op, _, _ = rms_norm
    checks = list(check_op(op))
    assert {(c.sample, c.argument) for c in checks} == {(0, "x"), (0, "weight"), (1, "x"), (1, "weight")}
    assert all(c.passed() for c in checks)


def test_the_op_of_the_page_says_what_it_does(rms_norm):
    op, printed, names = rms_norm
    assert derivative(op).saves == "x_hat, rstd, weight"
    assert "rms_norm" in printed
    assert names["y"].tolist()[0] == pytest.approx([0.8485, 1.1314], abs=1e-4)
    for arguments, text in op.errors(Draw()):
        with pytest.raises(TinygradError) as caught:
            op(*arguments)
        assert text in str(caught.value)


def test_the_op_of_the_page_equals_its_composed_form(rms_norm):
    op, _, _ = rms_norm
    for x, weight, *rest in op.samples(Draw()):
        settings = rest[0] if rest else {}
        fused, composed = op(x, weight, **settings), op.composed(Tensor(x), Tensor(weight), **settings)
        assert fused.numpy() == pytest.approx(composed.numpy(), rel=1e-12)


def test_the_forms_of_the_page_agree(rms_norm):
    op, _, _ = rms_norm
    assert op.fast is not None
    for x, weight, *rest in op.samples(Draw()):
        found = {}
        for form in ("plain", "fast"):
            leaves = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
            with using_ops(form):
                y = op(*leaves, **(rest[0] if rest else {}))
            (y * y).sum().backward()
            found[form] = [y.numpy(), *(leaf.grad.numpy() for leaf in leaves)]
        for plain, tuned in zip(found["plain"], found["fast"], strict=True):
            assert tuned == pytest.approx(plain, rel=1e-12, abs=1e-12)


def test_second_derivatives_come_from_the_plain_function_of_the_page(rms_norm):
    op, _, _ = rms_norm
    x, weight = (Tensor(a) for a in op.samples(Draw())[0])
    checked = jacobian(lambda x: op(x, weight).sum(), x)
    _, product = hvp(lambda x: op(x, weight).sum(), x, checked)
    step = 1e-6 * checked.numpy()
    after, before = (jacobian(lambda x: op(x, weight).sum(), x.numpy() + s).numpy() for s in (step, -step))
    assert product.numpy() == pytest.approx((after - before) / 2e-6, rel=1e-6, abs=1e-8)


def test_the_backend_of_the_page_can_be_asked_for(monkeypatch):
    class Array:
        pass

    def function(*_):
        return None

    abacus = SimpleNamespace(ndarray=Array, asarray=function, asnumpy=function, add=SimpleNamespace(at=function),
                             matmul=function, special=SimpleNamespace(erf=function), synchronize=function,
                             peak_memory=function)
    monkeypatch.setitem(sys.modules, "abacus", abacus)
    for registry in ("_loaders", "_loaded", "_by_type"):
        monkeypatch.setattr(backend, registry, dict(getattr(backend, registry)))
    (block,) = blocks("A backend")
    exec(block, {})
    loaded = backend.get_backend("abacus")
    assert (loaded.xp, loaded.name, loaded.on_host) == (abacus, "abacus", False)
    assert backend.backend_of(Array()) is loaded
    assert set(vars(loaded)) == set(backend.Backend.__dataclass_fields__)
