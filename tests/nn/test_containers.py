from collections import OrderedDict

import numpy as np
import pytest

from tinygrad_gpt import Tensor, manual_seed
from tinygrad_gpt.errors import DTypeError, ShapeError
from tinygrad_gpt.nn import Linear, ModuleDict, ModuleList, Parameter, ParameterList, ReLU, Sequential, Tanh


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_sequential_calls_its_modules_in_order():
    net = Sequential(Linear(2, 3), ReLU(), Linear(3, 1))
    x = Tensor(np.ones((4, 2), np.float32))
    assert np.array_equal(net(x).numpy(), net[2](net[1](net[0](x))).numpy())
    assert names(net) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [type(m) for m in net[:2]] == [Linear, ReLU]
    assert type(net[-1]) is Linear
    assert len(net) == 3


def test_sequential_of_named_modules_has_them_as_attributes():
    net = Sequential(OrderedDict(first=Linear(2, 2), act=Tanh()))
    assert net.first is net[0]
    assert names(net) == ["first.weight", "first.bias"]
    assert [key for key, _ in net[1:].named_children()] == ["act"]


def test_items_are_replaced_under_their_name_as_attributes():
    net = Sequential(Linear(2, 3), ReLU())
    for name, _ in net.named_children():
        setattr(net, name, Tanh())
    assert [type(m) for m in net] == [Tanh, Tanh]


def test_a_list_changes_as_python_lists_do():
    layers = ModuleList(Linear(1, i) for i in (1, 2, 3))
    layers.append(Tanh())
    layers.insert(1, ReLU())
    layers[0] = Tanh()
    assert [type(m).__name__ for m in layers] == ["Tanh", "ReLU", "Linear", "Linear", "Tanh"]
    assert names(layers) == ["2.weight", "2.bias", "3.weight", "3.bias"]
    del layers[1]
    assert layers.pop() is not layers[-1]
    assert names(layers[1:]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    layers += [ReLU()]
    assert len(layers + [ReLU()]) == len(layers) + 1 == 5  # noqa: RUF005
    with pytest.raises(ShapeError, match="ModuleList: index 9 is outside its 4 items"):
        layers[9]


def test_a_dictionary_of_modules():
    layers = ModuleDict({"a": Linear(1, 1)})
    layers["b"] = Tanh()
    assert list(layers) == list(layers.keys()) == ["a", "b"]
    assert layers.a is layers["a"]
    assert "b" in layers
    assert type(layers.pop("b")) is Tanh
    assert [name for name, _ in layers.items()] == ["a"]
    assert len(layers) == len(list(layers.values())) == 1


def test_tensors_in_a_parameter_list_become_parameters():
    values = ParameterList([Tensor([1.0, 2.0]), Parameter([3.0])])
    assert names(values) == ["0", "1"]
    assert all(isinstance(p, Parameter) for p in values)
    values[0] = Parameter([5.0])
    assert values[0].tolist() == [5.0]


@pytest.mark.parametrize("make", [lambda: Sequential(Linear(1, 1), 3), lambda: ModuleList([None]),
                                  lambda: ModuleDict({"a": 1}), lambda: ParameterList([Tanh()])])
def test_what_is_no_module_or_parameter_is_refused(make):
    with pytest.raises(DTypeError, match=r"give a (Module|Parameter)"):
        make()


def test_printed_as_torch_does():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")

    def build(nn, parameter):
        block = lambda: nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(2))  # noqa: E731
        return nn.Sequential(nn.Embedding(3, 2), nn.ModuleList([block(), block(), nn.Tanh()]), nn.Flatten(),
                             nn.ModuleDict({"a": nn.Softmax(dim=-1), "b": nn.Identity()}), nn.ReLU(), nn.SiLU(),
                             nn.Sigmoid(), nn.Sequential(), nn.GELU("tanh"))

    manual_seed(0)
    from tinygrad_gpt import nn

    assert repr(build(nn, Parameter)) == repr(build(torch.nn, torch.nn.Parameter))
