import numpy as np
import pytest

from tinygrad_gpt import Tensor, no_grad
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import Dropout, Linear, Module, Parameter


def generator():
    return np.random.default_rng(0)


class Twig(Module):
    def __init__(self):
        self.weight = Parameter(np.ones((2, 3), np.float32))
        self.bias = None


class Tree(Module):
    def __init__(self):
        self.last_letter = Twig()
        self.scale = Parameter(np.ones(3, np.float32))
        self.twigs = [Twig(), Twig()]
        self.a_first_letter = Twig()
        self.width = 3
        self.constant = Tensor([1.0])


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_parameters_come_in_order_of_definition_a_modules_own_before_those_below():
    assert names(Tree()) == ["scale", "last_letter.weight", "twigs.0.weight", "twigs.1.weight", "a_first_letter.weight"]


def test_modules_come_parents_first():
    assert [name for name, _ in Tree().named_modules()] == ["", "last_letter", "twigs.0", "twigs.1", "a_first_letter"]


def test_what_stands_at_two_places_comes_once_under_its_first_name():
    tree = Tree()
    tree.twigs[1].weight = tree.last_letter.weight
    assert names(tree) == ["scale", "last_letter.weight", "twigs.0.weight", "a_first_letter.weight"]
    assert tree.size == 3 + 3 * 6
    assert len(tree.parameters()) == len({id(p) for p in tree.parameters()}) == 4


def block_names(i):
    layers = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    return [f"h.{i}.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def test_gpt2_has_the_names_of_the_published_weights():
    config = {"vocab_size": 11, "n_ctx": 4, "n_embd": 6, "n_layer": 2, "n_head": 2}
    expected = ["wte.weight", "wpe.weight", *block_names(0), *block_names(1), "ln_f.weight", "ln_f.bias"]
    assert names(GPT2(GPT2Config(**config))) == expected
    assert names(GPT2(GPT2Config(**config, tied_head=False))) == [*expected, "lm_head.weight"]
    without = [name for name in expected if not name.endswith("c_attn.bias")]
    assert names(GPT2(GPT2Config(**config, qkv_bias=False))) == without


def test_train_and_eval_reach_the_whole_tree():
    tree = Tree()
    tree.twigs[0].drop = Dropout(0.5)
    assert tree.eval() is tree
    assert [module.training for _, module in tree.named_modules()] == [False] * 6
    assert tree.train() is tree
    assert [module.training for _, module in tree.named_modules()] == [True] * 6


def test_freeze_reaches_the_whole_tree_and_parts_can_be_thawed():
    tree = Tree()
    assert tree.freeze() is tree
    assert tree.trainable() == []
    tree.twigs[1].freeze(False)
    assert [p.requires_grad for p in tree.parameters()] == [False, False, False, True, False]
    assert tree.trainable() == [tree.twigs[1].weight]


def test_zero_grad_forgets_every_gradient():
    layer = Linear(3, 2, generator())
    layer(Tensor(np.ones((4, 3), np.float32))).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Twig has no forward"):
        Twig()(1)


# -- weights in and out


def test_a_state_moves_from_one_module_to_another(backend):
    a, b = Linear(3, 2, np.random.default_rng(1)), Linear(3, 2, np.random.default_rng(2))
    assert not np.array_equal(a.weight.numpy(), b.weight.numpy())
    b.load_state_dict(a.state_dict())
    for name, array in a.state_dict().items():
        assert np.array_equal(b.state_dict()[name], array)
    with no_grad():
        b.weight.copy_(0.0)
    assert a.weight.numpy().any()  # nothing is shared


def test_loading_keeps_the_parameters_own_dtype_and_memory():
    layer = Linear(3, 2, generator())
    memory = layer.weight.data
    layer.load_state_dict({"weight": np.full((3, 2), 0.5), "bias": np.zeros(2, np.float16)})
    assert layer.weight.data is memory
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    assert (memory == 0.5).all()


def test_adopted_arrays_are_the_memory_where_they_serve():
    layer = Linear(3, 2, generator())
    state = {"weight": np.full((3, 2), 0.5, np.float32), "bias": np.zeros(2, np.float16)}
    layer.adopt_state_dict(state)
    assert layer.weight.data is state["weight"]
    assert layer.bias.dtype == np.float32
    with no_grad():
        layer.weight.copy_(2.0)
    assert (state["weight"] == 2).all()


@pytest.mark.parametrize("spoil", [
    np.asfortranarray, lambda a: a[::-1], lambda a: np.broadcast_to(a[:1], a.shape), lambda a: a.astype(">f4"),
    lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(a.shape),
], ids=["Fortran", "reversed", "read-only", "big-endian", "unaligned"])
def test_adopted_arrays_that_do_not_serve_are_copied(spoil):
    layer = Linear(3, 2, generator())
    strange = spoil(np.arange(6, dtype=np.float32).reshape(3, 2))
    values = np.array(strange, np.float32)
    layer.adopt_state_dict({"weight": strange, "bias": np.zeros(2, np.float32)})
    memory = layer.weight.data
    assert memory.flags.c_contiguous
    assert memory.flags.aligned
    assert memory.flags.writeable
    assert memory.dtype.isnative
    np.testing.assert_array_equal(memory, values)
    assert not np.shares_memory(memory, strange)


def test_a_state_is_adopted_on_every_backend(backend):
    a, b = Linear(3, 2, np.random.default_rng(1)), Linear(3, 2, np.random.default_rng(2))
    b.adopt_state_dict({name: array.copy() for name, array in a.state_dict().items()})
    assert type(b.weight.data) is backend.array_type
    for name, array in a.state_dict().items():
        assert np.array_equal(b.state_dict()[name], array)


def test_adopting_counts_as_a_change_of_saved_values():
    layer = Linear(3, 2, generator())
    loss = layer(Tensor(np.ones((1, 3), np.float32), requires_grad=True)).sum()
    layer.adopt_state_dict({name: array.copy() for name, array in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match="'weight' was changed in place"):
        loss.backward()


def test_a_state_that_does_not_fit_is_not_adopted():
    layer = Linear(3, 2, generator())
    memory = layer.weight.data
    with pytest.raises(CheckpointError, match="bias holds 1 values that are not finite"):
        layer.adopt_state_dict({"weight": np.zeros((3, 2), np.float32), "bias": np.array([np.inf, 0], np.float32)})
    assert layer.weight.data is memory


def test_finite_values_whose_sum_overflows_are_taken():
    layer = Linear(3, 2, generator())
    layer.load_state_dict({"weight": np.full((3, 2), 3e38, np.float32), "bias": np.zeros(2, np.float32)})
    assert (layer.weight.data == np.float32(3e38)).all()


def test_loading_counts_as_a_change_of_saved_values():
    layer = Linear(3, 2, generator())
    loss = layer(Tensor(np.ones((1, 3), np.float32), requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="'weight' was changed in place"):
        loss.backward()


def test_a_state_that_does_not_fit_is_refused_with_every_problem_and_changes_nothing():
    tree = Tree()
    before = {name: array.copy() for name, array in tree.state_dict().items()}
    state = {
        "scale": np.zeros(4, np.float32),
        "last_letter.weight": np.zeros((2, 3), np.int64),
        "twigs.0.weight": np.array([[np.nan, 1, 1], [1, np.inf, 1]], np.float32),
        "a_first_letter.weight": np.zeros((2, 3), np.float32),
        "no_such": np.zeros(5, np.float32),
    }
    with pytest.raises(CheckpointError) as error:
        tree.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: 5 of the tensors do not fit: last_letter.weight is int64, expected floats; "
        "missing twigs.1.weight (2, 3); scale is (4,), expected (3,); twigs.0.weight holds 2 values that are not "
        "finite as float32; unexpected no_such (5,); was it saved from another configuration?")
    for name, array in tree.state_dict().items():
        assert np.array_equal(array, before[name]), name


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.array([object(), None]), np.array([True, False]),
                                 np.array([1j, 2j]),
                                 np.zeros(2, [("a", "f4")])], ids=["text", "objects", "bool", "complex", "records"])
def test_what_is_not_a_float_is_refused(bad):
    layer = Linear(3, 2, generator())
    with pytest.raises(CheckpointError, match=r"bias is .*, expected floats"):
        layer.load_state_dict({"weight": layer.weight.numpy(), "bias": bad})


def test_a_number_that_the_parameters_dtype_cannot_hold_is_not_finite():
    layer = Linear(3, 2, generator())
    with pytest.raises(CheckpointError, match="bias holds 1 values that are not finite as float32"):
        layer.load_state_dict({"weight": layer.weight.numpy(), "bias": np.array([1e300, 0.0])})
    assert not layer.bias.numpy().any()
