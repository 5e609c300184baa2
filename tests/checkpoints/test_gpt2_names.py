"""Names and layouts of other programs, without their oracle (with it: test_with_transformers.py)."""

from pathlib import Path

import pytest

from tinygrad_gpt.checkpoints.gpt2_config import shapes_of
from tinygrad_gpt.checkpoints.gpt2_names import check, plain_names, transposed
from tinygrad_gpt.checkpoints.mapped_tensor import StoredTensor
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.gpt2 import GPT2Config

EXPECTED = shapes_of(GPT2Config(11, 7, 6, 2, 3).to_dict())


def stored(shapes, dtype="F32"):
    return {name: StoredTensor(Path("file"), 0, dtype, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("name", "plain"), [
    ("wte.weight", "wte.weight"), ("transformer.wte.weight", "wte.weight"),
    ("model.transformer.wte.weight", "wte.weight"), ("_orig_mod.module.lm_head.weight", "lm_head.weight"),
    ("module._orig_mod.transformer.h.0.ln_1.bias", "h.0.ln_1.bias"),
    ("transformer.h.1._orig_mod.mlp.c_fc.bias", "h.1.mlp.c_fc.bias"), ("transformer.model.wpe.weight", "wpe.weight"),
    ("my_module.wte.weight", "my_module.wte.weight"), ("h.transformer.weight", "h.transformer.weight"),
    ("transformer._fsdp_wrapped_module.h.0.ln_1.bias", "h.0.ln_1.bias"),
])
def test_what_is_taken_off_a_name(name, plain):
    assert list(plain_names(stored({name: (1,)}))) == [plain]


def test_causal_masks_are_left_out():
    masks = {"module.transformer.h.0.attn.bias": (1, 1, 7, 7), "h.1.attn.masked_bias": (), "ln_f.bias": (6,)}
    assert list(plain_names(stored(masks))) == ["ln_f.bias"]


def test_one_name_twice():
    with pytest.raises(CheckpointError, match=r"holds wte\.weight both with and without the prefix"):
        plain_names(stored({"module.wte.weight": (1,), "model.wte.weight": (1,)}))


def test_matrices_are_transposed_all_or_none():
    matrices = {name for name, shape in EXPECTED.items() if len(shape) == 2 and name.startswith("h.")}
    assert len(matrices) == 8
    turned = {name: shape[::-1] if name in matrices else shape for name, shape in EXPECTED.items()}
    assert transposed(stored(EXPECTED), EXPECTED) == set()
    assert transposed(stored(turned), EXPECTED) == matrices
    check(stored(turned), EXPECTED, matrices)
    mixed = {**EXPECTED, "h.1.mlp.c_proj.weight": (6, 24)}
    assert transposed(stored(mixed), EXPECTED) == set()
    with pytest.raises(CheckpointError, match=r"1 of .*: h\.1\.mlp\.c_proj\.weight is \(6, 24\), transposed, expected"):
        check(stored(mixed), EXPECTED, set())


def test_of_many_problems_some_are_named_and_the_rest_is_counted():
    with pytest.raises(CheckpointError) as caught:
        check(stored({**EXPECTED, **{f"layer.{i}.weight": (6,) for i in range(15_000)}}), EXPECTED, set())
    assert str(caught.value) == (
        "15,000 of the tensors do not fit: unexpected layer.0.weight (6,); unexpected layer.1.weight (6,) and 14,998 "
        "more; does config.json belong to these weights?")


def test_all_biases_or_none_may_be_missing():
    without = {name: shape for name, shape in EXPECTED.items() if not name.endswith(".bias")}
    check(stored(without), EXPECTED, set())
    with pytest.raises(CheckpointError, match=r"missing h\.0\.attn\.c_attn\.bias"):
        check(stored({**without, "ln_f.bias": (6,)}), EXPECTED, set())
