"""The view of a tape: the nodes of a real step, and the bytes that they really keep."""

import re
from contextlib import nullcontext

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.backend import default_backend, use_backend
from tinygrad_gpt.engine import Tensor, composed_ops
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.study import view_tape


def leaf(*shape):
    return Tensor(np.ones(shape, np.float32), requires_grad=True)


def tiny():
    return GPT2(GPT2Config(vocab_size=50, n_ctx=8, n_embd=16, n_layer=2, n_head=2))


@pytest.fixture(scope="module")
def model():
    return tiny()


def step(model):
    tokens = default_backend().from_numpy(np.random.default_rng(0).integers(0, 50, (2, 9)))
    return ops.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])


def saved(view, op):
    return [s for node in view.nodes if node.op == op for s in node.saved]


def test_the_nodes_of_a_small_graph():
    x, w = leaf(2, 3), leaf(3, 4)
    view = view_tape(ops.sum_(ops.linear(x, w)), [("w", w)])
    assert [(n.number, n.op, n.label, n.shape, n.inputs) for n in view.nodes] == [
        (0, None, "leaf", (2, 3), ()),
        (1, None, "w", (3, 4), ()),
        (2, "linear", "linear", (2, 4), (("x", 0), ("weight", 1))),
        (3, "sum", "sum", (), (("x", 2),)),
    ]


def test_gradients_are_where_the_view_says():
    view = view_tape(ops.linear(leaf(2, 3), leaf(3, 4), leaf(4)))
    for place, name in zip(view.nodes[-1].gradients, ("grad_x", "grad_weight", "grad_bias"), strict=True):
        path, line = place.rsplit(":", 1)
        assert path == "tinygrad_gpt/ops/matmul.py"
        with open(ops.linear.function.__code__.co_filename, encoding="utf-8") as file:
            assert file.read().splitlines()[int(line) - 1].strip() == f"def {name}(g):"


def test_bytes_agree_with_the_arrays():
    x = leaf(10, 3)
    view = view_tape(ops.gelu_exact(x))
    assert [(s.name, s.shape, s.dtype, s.bytes) for s in saved(view, "gelu_exact")] == [
        ("slope", (10, 3), "float32", 120)]
    assert view.bytes == view.nodes[-1].bytes == 120


def test_memory_that_two_nodes_keep_is_counted_once():
    h = leaf(10) + 1.0
    view = view_tape(h * h + h * 2.0)
    assert [s.again for s in saved(view, "mul")].count(False) == 2  # h, and the number 2
    assert view.bytes == 40 + 4


def test_a_view_keeps_the_memory_that_it_shows():
    h = leaf(10, 3) * 1.0
    (kept,) = saved(view_tape(ops.log(h[2])), "log")
    assert (kept.shape, kept.bytes) == ((3,), 120)


def test_memory_of_parameters_is_named_and_not_counted():
    x, w = leaf(2, 3), leaf(3, 4)
    view = view_tape(ops.linear(x, w.T.T), [("w", w)])
    assert {(s.name, s.parameter, s.counted) for s in saved(view, "linear")} == {("x", None, True),
                                                                               ("weight", "w", False)}
    assert view.bytes == 24
    assert " [weight]" in str(view)


def test_a_frozen_argument_saves_nothing_for_its_gradient():
    x, w = Tensor(np.ones((2, 3), np.float32)), leaf(3, 4)
    view = view_tape(ops.linear(x, w))
    assert [s.name for s in saved(view, "linear")] == ["x"]
    assert view.nodes[-1].inputs == (("weight", 0),)


def test_index_arrays_in_a_tuple_are_counted():
    view = view_tape(leaf(4, 5)[np.arange(3), np.arange(3)])
    assert [(s.name, s.bytes) for s in saved(view, "slice")] == [("index[0]", 24), ("index[1]", 24)]


def test_every_node_of_a_real_step(model):
    loss = step(model)
    view = view_tape(loss, model.named_parameters())
    leaves = [n for n in view.nodes if n.op is None]
    assert [n.label for n in leaves] == [name for name, _ in model.named_parameters()]
    assert [n.shape for n in leaves] == [p.shape for p in model.parameters()]
    assert [n.number for n in view.nodes] == list(range(len(view.nodes)))
    assert all(source < n.number for n in view.nodes for _, source in n.inputs)
    assert [n.op for n in view.nodes].count("self_attention") == 2
    assert (view.nodes[-1].op, view.nodes[-1].shape) == ("cross_entropy", ())
    joint = {"self_attention", "bias_gelu"}  # one function makes all their gradients
    assert all(len(n.gradients) == len(n.inputs) or n.op in joint for n in view.nodes)


def flat(values):
    """The values, and those inside tuples (records among them)."""
    for value in values:
        yield from flat(value) if isinstance(value, tuple) else (value,)


def test_the_bytes_of_a_real_step_are_what_backward_frees(model):
    """Counted a second way: every array that the pullbacks' closures hold, by the address of its memory."""
    loss = step(model)
    todo, nodes, memory = [loss._node], set(), {}
    parameters = {p.data.__array_interface__["data"][0] for p in model.parameters()}
    while todo:
        node = todo.pop()
        if node is None or node in nodes or node.op is None:
            continue
        nodes.add(node)
        todo += node.inputs
        for pullback in [node.pullbacks] if callable(node.pullbacks) else node.pullbacks:
            cells = [cell.cell_contents for cell in (pullback.__closure__ or ())] if pullback else []
            for kept in flat(cells):
                if isinstance(kept, (np.ndarray, np.generic)):
                    owner = np.asarray(kept) if kept.base is None else kept.base
                    key = owner.__array_interface__["data"][0] if isinstance(kept, np.ndarray) else None
                    memory[key] = owner.nbytes
    assert view_tape(loss, model.named_parameters()).bytes == sum(
        size for key, size in memory.items() if key not in parameters)


def test_the_composed_step_keeps_more(model):
    fused = view_tape(step(model), model.named_parameters())
    with composed_ops():
        composed = view_tape(step(model), model.named_parameters())
    assert composed.bytes > fused.bytes
    assert {n.op for n in composed.nodes}.isdisjoint({"self_attention", "layer_norm", "gelu", "linear"})


@pytest.mark.parametrize("mode", [nullcontext, composed_ops])
def test_every_backend_keeps_the_same(backend, mode, model):
    with mode():
        here = tiny()
        view = view_tape(step(here), here.named_parameters())
        use_backend("numpy")
        assert view == view_tape(step(model), model.named_parameters())


def test_the_text_shows_each_node_and_the_totals(model):
    view = view_tape(step(model), model.named_parameters())
    lines = str(view).splitlines()
    assert len(lines) == len(view.nodes) + 4
    assert lines[0].split() == ["op", "or", "parameter", "result", "inputs", "saved", "bytes", "gradient"]
    assert re.fullmatch(r" *32  linear +\(2, 8, 48\) +31 4 5 +x \[weight\] +1,024  tinygrad_gpt/ops/matmul.py:[\d,]+",
                        lines[33])
    assert f"{view.bytes:,} bytes" in lines[-2]
    assert {line.index("tinygrad_gpt/") for line in lines if "tinygrad_gpt/" in line} == {lines[0].index("gradient")}


def test_dot_is_well_formed(model):
    view = view_tape(step(model), model.named_parameters())
    first, *lines, last = view.dot().splitlines()
    assert (first, last) == ("digraph tape {", "}")
    quoted = r'"(?:[^"\\]|\\.)*"'
    nodes = [re.fullmatch(rf"  n(\d+) \[label={quoted}(?:, fillcolor=lightgrey)?\];", line) for line in lines]
    edges = [re.fullmatch(rf"  n(\d+) -> n(\d+) \[label={quoted}\];", line) for line in lines]
    assert [int(m[1]) for m in nodes if m] == [n.number for n in view.nodes]
    assert [(int(m[1]), int(m[2])) for m in edges if m] == [(s, n.number) for n in view.nodes for _, s in n.inputs]
    assert len(lines) == 2 + sum(map(bool, nodes)) + sum(map(bool, edges))


def test_dot_escapes_quotes():
    x = leaf(2)
    assert r'label="a\"b\\c\n(2,)"' in view_tape(x * 1.0, [('a"b\\c', x)]).dot()


def test_no_tape_and_a_freed_tape_are_refused():
    with pytest.raises(TapeError, match="view_tape: this tensor is on no tape"):
        view_tape(Tensor([1.0]))
    y = ops.sum_(leaf(2) * 2.0)
    y.backward()
    with pytest.raises(TapeError, match=r"view_tape: the graph through op 'mul' was freed"):
        view_tape(y)


def test_a_leaf_alone_is_a_tape_of_one_node():
    (node,) = view_tape(leaf(2, 3)).nodes
    assert (node.op, node.shape, node.bytes) == (None, (2, 3), 0)
