"""What a notebook shows: short, right, and safe."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tinygrad_gpt import Tensor, gradcheck, nn
from tinygrad_gpt.study import view_tape


def parsed(shown):
    return ET.fromstring(f"<all>{shown._repr_html_()}</all>")


@pytest.mark.parametrize("values", [3.5, [1.0, -2.0], [[1, 2], [3, 4]], [True, False], [[[0.0, np.nan, np.inf]]],
                                    np.zeros((0, 3), np.float32)])
def test_the_first_numbers_of_a_tensor(values):
    tensor = Tensor(values)
    cells = [cell.text for cell in parsed(tensor).iter("td")]
    assert len(cells) == tensor.size
    assert cells == [f"{v:.4g}" if isinstance(v, float) else str(v) for v in np.ravel(tensor.numpy()).tolist()]


def test_what_else_is_said():
    x = Tensor([1.0, -3.0], requires_grad=True)
    y = x * x
    y.sum().backward()
    assert parsed(x)[0].text == "Tensor (2,) float32, -3 to 1, a leaf, with a gradient"
    assert parsed(y)[0].text == "Tensor (2,) float32, 1 to 9, of op mul"


def test_a_large_tensor_is_short():
    shown = Tensor(np.random.default_rng(0).normal(size=(1000, 1000)))._repr_html_()
    assert len(shown) < 12_000
    assert shown.endswith("<div>999,904 more numbers</div>")


def test_modules_tapes_and_checks_show_what_they_print():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for shown in (nn.Linear(2, 3), view_tape((x * x).sum()), gradcheck(lambda x: (x * x).sum(), [1.0])):
        assert parsed(shown)[0].tag == "pre"
        assert parsed(shown)[0].text == (repr(shown) if isinstance(shown, nn.Module) else str(shown))
