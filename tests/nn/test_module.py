import numpy as np
import pytest

from tinygrad_gpt import Tensor, no_grad
from tinygrad_gpt.errors import CheckpointError, DTypeError, UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import Conv1D, Dropout, Identity, Linear, Module, ModuleList, Parameter, Sequential


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
    assert len(list(tree.parameters())) == len({id(p) for p in tree.parameters()}) == 4


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
    layer = Conv1D(3, 2, generator())
    layer(Tensor(np.ones((4, 3), np.float32))).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Twig has no forward"):
        Twig()(1)


# -- what is in the tree, and what is refused


class Net(Module):
    """A module with whatever attribute it is given."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.mark.parametrize(("held", "expected"), [
    (lambda p, m: [p, m], ["held.0", "held.1.weight"]), (lambda p, m: (m, p), ["held.1", "held.0.weight"]),
    (lambda p, m: {"a": p, "b": m}, ["held.a", "held.b.weight"]),
    (lambda p, m: [[p], [[m]]], ["held.0.0", "held.1.0.0.weight"]),
    (lambda p, m: {"a": [m, {"b": p}]}, ["held.a.1.b", "held.a.0.weight"]),
], ids=["list", "tuple", "dict", "nested lists", "nested dict"])
def test_every_list_tuple_and_dictionary_is_in_the_tree(held, expected):
    net = Net(held=held(Parameter([1.0]), Twig()))
    assert names(net) == expected
    assert net.state_dict().keys() == set(expected)
    net.held = None
    assert names(net) == []


def test_what_is_appended_later_is_in_the_tree():
    net = Net(layers=[])
    net.layers.append(Twig())
    assert names(net) == ["layers.0.weight"]


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_of_modules_is_refused(kind):
    with pytest.raises(DTypeError, match=r"'held' is a (frozen)?set of modules or parameters.*ModuleList"):
        Net(held=kind([Twig()]))
    assert Net(held=kind([1, 2])).held == {1, 2}


def test_a_parameter_stays_one():
    net = Net(weight=Parameter([1.0]), below=Twig())
    with pytest.raises(DTypeError, match="Net: cannot assign a Tensor as parameter 'weight'; give a Parameter or None"):
        net.weight = net.weight * 2.0
    with pytest.raises(DTypeError, match="cannot assign a Tensor as module 'below'; give a Module or None"):
        net.below = Tensor([1.0])
    assert names(net) == ["weight", "below.weight"]
    net.weight = Parameter([2.0])
    net.below = None
    assert names(net) == ["weight"]
    del net.weight
    assert names(net) == []


def test_names_have_no_dots():
    net = Net(a=Twig())
    for bad in (lambda: setattr(net, "a.weight", Twig()), lambda: net.add_module("a.b", Twig()),
                lambda: net.register_parameter("", Parameter([1.0])), lambda: net.register_buffer("forward", None)):
        with pytest.raises(UsageError, match=r"is no name|attribute 'forward' already"):
            bad()
    assert names(net) == ["a.weight"]


def test_things_are_registered_by_name():
    net = Net()
    net.add_module("below", Twig())
    net.register_parameter("scale", Parameter([1.0]))
    net.register_parameter("bias", None)
    assert names(net) == ["scale", "below.weight"]
    assert net.get_submodule("below") is net.below
    assert net.get_submodule("") is net
    assert net.get_parameter("below.weight") is net.below.weight
    for bad in (lambda: net.get_submodule("no"), lambda: net.get_parameter("no")):
        with pytest.raises(UsageError, match=r"has no (module|parameter) 'no'"):
            bad()
    for bad in (lambda: net.add_module("x", 3), lambda: net.register_parameter("x", Tensor([1.0])),
                lambda: net.register_buffer("x", 3)):
        with pytest.raises(DTypeError, match=r"'x' is a (int|Tensor); give a"):
            bad()


def test_buffers_are_saved_and_not_trained():
    net = Net(weight=Parameter([1.0]))
    net.register_buffer("mask", Tensor([True, False]))
    net.register_buffer("scratch", Tensor([1.0]), persistent=False)
    net.register_buffer("later", None)
    assert names(net) == ["weight"]
    assert [name for name, _ in net.named_buffers()] == ["mask", "scratch"]
    assert len(list(net.buffers())) == 2
    assert list(net.state_dict()) == ["weight", "mask"]
    net.load_state_dict({"weight": np.array([2.0]), "mask": np.array([False, True])})
    assert net.mask.tolist() == [False, True]
    with pytest.raises(DTypeError, match="cannot assign a list as buffer 'mask'"):
        net.mask = [1]
    with pytest.raises(CheckpointError, match="mask is float64, expected bool"):
        net.load_state_dict({"weight": np.array([2.0]), "mask": np.array([0.5, 1.0])})
    del net.mask
    net.mask = [1]
    assert list(net.state_dict()) == ["weight"]


def test_a_cycle_and_a_module_at_two_places_come_once():
    net = Net(a=Twig())
    net.b = net.a
    net.a.parent = net
    assert [name for name, _ in net.named_modules()] == ["", "a"]
    assert [name for name, _ in net.named_children()] == ["a"]
    assert names(net) == ["a.weight"]
    del net.a.parent
    assert list(net.state_dict()) == ["a.weight", "b.weight"]


def test_walks_over_the_tree():
    net = Sequential(Linear(2, 2), Sequential(Linear(2, 1), Identity()))
    assert [type(m).__name__ for m in net.modules()] == ["Sequential", "Linear", "Sequential", "Linear", "Identity"]
    assert list(net.children()) == [net[0], net[1]]
    assert list(net.parameters(recurse=False)) == []
    seen = []
    assert net.apply(seen.append) is net
    assert [type(m).__name__ for m in seen] == ["Linear", "Linear", "Identity", "Sequential", "Sequential"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    assert next(net.requires_grad_().parameters()).requires_grad


def test_gradients_may_be_filled_with_zeros():
    layer = Linear(2, 1)
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert [p.grad.tolist() for p in layer.parameters()] == [[[0.0, 0.0]], [0.0]]


def test_a_list_of_equal_blocks_is_printed_once():
    assert repr(Net(layers=ModuleList(Twig() for _ in range(3)))) == (
        "Net(\n  (layers): ModuleList(\n    (0-2): 3 x Twig()\n  )\n)")


# -- weights in and out


def test_loading_may_leave_names_out():
    net = Net(a=Parameter([1.0]), b=Parameter([2.0]))
    assert repr(net.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    found = net.load_state_dict({"a": Tensor([5.0]), "c": Tensor([1.0])}, strict=False)
    assert found == (["b"], ["c"])
    assert [p.tolist() for p in net.parameters()] == [[5.0], [2.0]]
    assert "missing_keys=['b']" in repr(found)


def test_a_state_dict_is_off_the_tape_and_shares_memory():
    net = Net(a=Parameter([1.0]))
    value = net.state_dict()["a"]
    assert isinstance(value, Tensor)
    assert not value.requires_grad
    with no_grad():
        net.a.copy_(7.0)
    assert value.tolist() == [7.0]


def test_a_state_moves_from_one_module_to_another(backend):
    a, b = Conv1D(3, 2, np.random.default_rng(1)), Conv1D(3, 2, np.random.default_rng(2))
    assert not np.array_equal(a.weight.numpy(), b.weight.numpy())
    b.load_state_dict(a.state_dict())
    for name, array in a.arrays().items():
        assert np.array_equal(b.arrays()[name], array)
    with no_grad():
        b.weight.copy_(0.0)
    assert a.weight.numpy().any()  # nothing is shared


def test_loading_keeps_the_parameters_own_dtype_and_memory():
    layer = Conv1D(3, 2, generator())
    memory = layer.weight.data
    layer.load_state_dict({"weight": np.full((3, 2), 0.5), "bias": np.zeros(2, np.float16)})
    assert layer.weight.data is memory
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    assert (memory == 0.5).all()


def test_adopted_arrays_are_the_memory_where_they_serve():
    layer = Conv1D(3, 2, generator())
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
    layer = Conv1D(3, 2, generator())
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
    a, b = Conv1D(3, 2, np.random.default_rng(1)), Conv1D(3, 2, np.random.default_rng(2))
    b.adopt_state_dict({name: array.copy() for name, array in a.arrays().items()})
    assert type(b.weight.data) is backend.array_type
    for name, array in a.arrays().items():
        assert np.array_equal(b.arrays()[name], array)


def test_adopting_counts_as_a_change_of_saved_values():
    layer = Conv1D(3, 2, generator())
    loss = layer(Tensor(np.ones((1, 3), np.float32), requires_grad=True)).sum()
    layer.adopt_state_dict({name: array.copy() for name, array in layer.arrays().items()})
    with pytest.raises(RuntimeError, match="'weight' was changed in place"):
        loss.backward()


def test_a_state_that_does_not_fit_is_not_adopted():
    layer = Conv1D(3, 2, generator())
    memory = layer.weight.data
    with pytest.raises(CheckpointError, match="bias holds 1 values that are not finite"):
        layer.adopt_state_dict({"weight": np.zeros((3, 2), np.float32), "bias": np.array([np.inf, 0], np.float32)})
    assert layer.weight.data is memory


def test_finite_values_whose_sum_overflows_are_taken():
    layer = Conv1D(3, 2, generator())
    layer.load_state_dict({"weight": np.full((3, 2), 3e38, np.float32), "bias": np.zeros(2, np.float32)})
    assert (layer.weight.data == np.float32(3e38)).all()


def test_loading_counts_as_a_change_of_saved_values():
    layer = Conv1D(3, 2, generator())
    loss = layer(Tensor(np.ones((1, 3), np.float32), requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="'weight' was changed in place"):
        loss.backward()


def test_a_state_of_many_other_names_is_refused_in_one_short_line():
    state = {f"{'layer.' * 20}{i}.weight": np.zeros(1, np.float32) for i in range(15_000)}
    with pytest.raises(CheckpointError, match=r"^load_state_dict: 15,005 .* and 15,002 more; was it saved") as error:
        Tree().load_state_dict(state)
    assert len(str(error.value)) <= 240


def test_a_state_that_does_not_fit_is_refused_with_its_problems_and_changes_nothing():
    tree = Tree()
    before = {name: array.copy() for name, array in tree.arrays().items()}
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
        "missing twigs.1.weight (2, 3); scale is (4,), expected (3,) and 2 more; was it saved from another "
        "configuration?")
    for name, array in tree.arrays().items():
        assert np.array_equal(array, before[name]), name


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.array([object(), None]), np.array([True, False]),
                                 np.array([1j, 2j]),
                                 np.zeros(2, [("a", "f4")])], ids=["text", "objects", "bool", "complex", "records"])
def test_what_is_not_a_float_is_refused(bad):
    layer = Conv1D(3, 2, generator())
    with pytest.raises(CheckpointError, match=r"bias is .*, expected floats"):
        layer.load_state_dict({"weight": layer.weight.numpy(), "bias": bad})


def test_a_number_that_the_parameters_dtype_cannot_hold_is_not_finite():
    layer = Conv1D(3, 2, generator())
    with pytest.raises(CheckpointError, match="bias holds 1 values that are not finite as float32"):
        layer.load_state_dict({"weight": layer.weight.numpy(), "bias": np.array([1e300, 0.0])})
    assert not layer.bias.numpy().any()
