"""Formulas as MathML."""

import xml.etree.ElementTree as ET

import pytest

from tinygrad_gpt.engine import OPS
from tinygrad_gpt.figures.mathml import mathml
from tinygrad_gpt.study.derivatives import derivative

X_BAR = "<mover><mi>x</mi><mo>¯</mo></mover>"


@pytest.mark.parametrize(("text", "elements"), [
    ("x̄", X_BAR),
    ("Ā = ȳ", "<mover><mi>A</mi><mo>¯</mo></mover><mspace width=\"0.25em\"/><mo>=</mo>"
              "<mover><mi>y</mi><mo>¯</mo></mover>"),
    ("logits̅", '<mover><mi mathvariant="normal">logits</mi><mo>¯</mo></mover>'),
    ("x̂", "<mover><mi>x</mi><mo>^</mo></mover>"),
    ("Wᵀ", "<msup><mi>W</mi><mi>T</mi></msup>"),
    ("2⁻¹", "<msup><mn>2</mn><mi>−1</mi></msup>"),
    ("p_nv", "<msub><mi>p</mi><mi>nv</mi></msub>"),
    ("√(σ² + ε) x", "<msqrt><msup><mi>σ</mi><mn>2</mn></msup><mspace width=\"0.25em\"/><mo>+</mo><mi>ε</mi></msqrt>"
                    "<mspace width=\"0.25em\"/><mi>x</mi>"),
    ("√((a)b)c", "<msqrt><mo>(</mo><mi>a</mi><mo>)</mo><mi>b</mi></msqrt><mi>c</mi>"),
    ("√D", "<msqrt><mi>D</mi></msqrt>"),
    ("a < b", '<mi>a</mi><mspace width="0.25em"/><mo>&lt;</mo><mi>b</mi>'),
])
def test_elements(text, elements):
    assert mathml(text) == f'<math display="block">{elements}</math>'


def test_each_line_is_a_formula():
    assert mathml("x̄\n\nx̄") == f'<math display="block">{X_BAR}</math>' * 2


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_formula_of_the_registry_is_well_formed(name):
    d = derivative(OPS[name])
    for text in (d.forward, d.gradient):
        root = ET.fromstring(f"<all>{mathml(text)}</all>")
        assert len(root) == len(text.splitlines())
        shown = "".join(root.itertext())
        assert not any(mark in shown for mark in "\u0302\u0304\u0305ᵀ√²")
