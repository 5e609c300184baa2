"""The tape: what is refused, what is freed, what is never used silently."""

import gc
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.engine import OPS, Op, Tensor, checking, no_grad
from tinygrad_gpt.engine.guards import Lock, saved_arrays
from tinygrad_gpt.engine.mode import current_mode, enable_grad, is_grad_enabled, observing, set_grad_enabled
from tinygrad_gpt.engine.pending import sum_to
from tinygrad_gpt.errors import DTypeError, ShapeError, TapeError


def leaf(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def no_locks_are_left():
    gc.collect()  # tracebacks of other tests hold graphs
    return Lock._holders == {}


# -- refusals


def test_second_backward_is_refused():
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    before = x.grad.tolist()
    with pytest.raises(TapeError, match=r"freed by an earlier backward; call the earlier one with retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == before


def test_retain_graph_allows_it_and_gradients_accumulate(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    x.zero_grad()
    assert x.grad is None


def test_a_graph_that_shares_a_freed_part_is_refused():
    x = leaf(3)
    shared = x * x
    shared.sum().backward()
    with pytest.raises(TapeError, match="the graph through op 'mul' was freed"):
        (shared * 2.0).sum().backward()


def test_backward_needs_one_value(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TapeError, match=r"the tensor has shape \(2,\), not one value; reduce it"):
        (x * 2.0).backward()
    (x * 2.0).backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 20.0]
    with pytest.raises(ShapeError, match=r"the gradient is \(3,\) but the tensor is \(2,\)"):
        (x * 2.0).backward([1.0, 1.0, 1.0])
    (x[:1] * 3.0).backward()  # one value need not be 0-d
    assert x.grad.tolist() == [5.0, 20.0]


def test_a_gradient_from_the_host_goes_to_the_tensor(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward(np.ones(2))
    assert x.grad.tolist() == [2.0, 4.0]
    assert x.grad.dtype == np.float32


def test_backward_off_the_tape_is_refused():
    x = leaf(2)
    with no_grad():
        silent = (x * x).sum()
    for y in (Tensor(1.0), (x * x).sum().detach(), (x.detach() * 2.0).sum(), silent):
        with pytest.raises(TapeError, match="this tensor is on no tape; compute it from a tensor with requires_grad"):
            y.backward()
    assert x.grad is None


def test_integers_have_no_gradient():
    with pytest.raises(DTypeError, match="only floating-point tensors can require gradients, this one is int64"):
        Tensor([1, 2], requires_grad=True)
    with pytest.raises(DTypeError, match="this one is bool"):
        Tensor([True]).requires_grad = True
    with pytest.raises(TapeError, match="on no tape"):
        (Tensor([1, 2]) * 3).sum().backward()

    def count(xp, x):
        return (x > 0).sum(), (lambda g: g,)

    with pytest.raises(DTypeError, match="op 'count': the result is int64, which has no gradient"):
        Op(count)(leaf(2))


def test_a_pullback_that_raises_leaves_every_gradient_as_it_was():
    def broken(xp, x):
        def grad_x(g):
            raise FloatingPointError("on purpose")

        return x * 1.0, (grad_x,)

    x, w = leaf(3), leaf(3, seed=1)
    (x * w).sum().backward()
    before = x.grad.tolist(), w.grad.tolist()
    y = (Op(broken)(x) * w).sum() + (w * 2.0).sum()
    with pytest.raises(FloatingPointError, match="on purpose"):
        y.backward()
    assert (x.grad.tolist(), w.grad.tolist()) == before


def test_a_gradient_of_another_shape_names_op_and_argument():
    def wrong(xp, a, b):
        return a * b, (lambda g: g, lambda g: g[:1])

    with pytest.raises(ShapeError, match=r"op 'wrong': gradient of 'b' is \(1,\) but the argument is \(3,\)"):
        Op(wrong)(leaf(3), leaf(3)).sum().backward()


@pytest.mark.parametrize(("shape", "target"), [
    ((2, 3), (3,)), ((2, 3), ()), ((2, 3), (2, 1)), ((2, 3), (1, 1)), ((4, 2, 3), (2, 1)), ((2, 3), (2, 3)),
    ((0, 3), (3,)), ((0, 3), (1, 3)), ((2, 0), (2, 1))])
def test_sum_to_undoes_broadcasting(shape, target):
    g = np.arange(np.prod(shape), dtype=float).reshape(shape)
    undone = sum_to(g, target)
    assert undone.shape == target
    other = np.random.default_rng(0).standard_normal(target)
    assert np.isclose((g * other).sum(), (undone * other).sum())  # the adjoint of broadcasting


# -- values that change


def test_a_change_between_forward_and_backward_is_refused(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    w = Tensor([3.0, 4.0], requires_grad=True)
    y = (x * w).sum()
    with no_grad():
        w.copy_([0.0, 0.0])
    with pytest.raises(TapeError, match=r"op 'mul': its saved array 'b' was changed in place after the forward pass; "
                                        r"use a copy, or change it after backward"):
        y.backward()
    assert x.grad is None
    assert w.grad is None


@pytest.mark.parametrize("change", [
    lambda x: x.copy_([0.0, 0.0]), lambda x: x.__setitem__(0, 5.0), lambda x: x.detach().copy_([1.0, 1.0]),
    lambda x: x.reshape(2, 1).copy_([[1.0], [1.0]]), lambda x: x[:1].copy_([7.0]), lambda x: x.T.copy_([1.0, 2.0]),
    lambda x: Tensor(x).copy_([3.0, 3.0]), lambda x: setattr(x, "data", x.data * 2), lambda x: x.mark_changed(),
    lambda x: x[None, ..., None].copy_(np.ones((1, 2, 1)))])
def test_every_way_to_change_a_value_counts(change, backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    with no_grad():
        change(x)
    with pytest.raises(TapeError, match="op 'mul': its saved array"):
        y.backward()
    assert x.grad is None


def test_a_tensor_given_new_data_shares_the_fate_of_their_owner():
    x, other = leaf(2), leaf(2, seed=1)
    x.data = other
    y = (x * x).sum()
    with no_grad():
        other.copy_([0.0, 0.0])
    with pytest.raises(TapeError, match="changed in place"):
        y.backward()


def test_a_changed_result_is_refused_where_it_was_saved():
    x = leaf(2)
    y = ops.exp(x)
    with no_grad():
        y.copy_([0.0, 0.0])
    with pytest.raises(TapeError, match="op 'exp': its saved array 'y'"):
        y.sum().backward()


def test_a_change_of_what_was_not_saved_is_allowed():
    x, w = leaf(3), leaf(3, seed=1)
    y = (x + w).sum()  # saves nothing
    with no_grad():
        x.copy_([0.0, 0.0, 0.0])
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    frozen = Tensor(w.data)
    y = ops.linear(x.reshape(1, 3), frozen.reshape(3, 1)).sum()  # x is saved only for the gradient of the weight
    with no_grad():
        x.copy_([1.0, 2.0, 3.0])
    x.zero_grad()
    y.backward()
    assert x.grad.tolist() == frozen.tolist()


def test_a_change_before_the_forward_pass_does_not_count(backend):
    x = Tensor([1.0, 2.0], requires_grad=True, backend=backend.name)
    with no_grad():
        x.copy_([3.0, 4.0])
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0, 8.0]


def test_a_change_is_refused_where_an_observer_wrapped_the_pullbacks():
    def wrap(op, args, result):
        def watched(pullback):
            return lambda g: pullback(g)

        if result.node is not None:
            result.node.pullbacks = [pullback and watched(pullback) for pullback in result.node.pullbacks]

    x = leaf(2)
    with observing(wrap):
        y = (x * x).sum()
    with no_grad():
        x.copy_([0.0, 0.0])
    with pytest.raises(TapeError, match="op 'mul': its saved array 'a' was changed in place"):
        y.backward()


def test_a_leaf_with_data_of_another_shape_gets_its_gradient():
    x = leaf(2)
    x.data = np.ones(3)
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_an_index_that_changes_is_not_used(backend):
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for index in (Tensor([0, 0, 1]), Tensor([True, False]), (Tensor([0, 0]), Tensor([1, 1]))):
        x.zero_grad()
        y, whole = x[index], x.detach()[index]
        for part in index if isinstance(index, tuple) else (index,):
            part.copy_([1] * part.size if part.dtype.kind == "i" else [False, True])
        y.sum().backward()
        assert float(x.grad.sum()) == whole.size
        assert float((x.grad * x.detach()).sum()) == float(whole.sum())


def test_a_gradient_used_in_a_graph_and_accumulated_into_is_refused():
    x = leaf(2)
    x.sum().backward()
    y = (x * x.grad).sum()
    x.sum().backward()
    with pytest.raises(TapeError, match="op 'mul': its saved array 'b' was changed in place"):
        y.backward()


def test_in_place_writes_on_the_tape_are_refused():
    x = leaf(2)
    for tensor in (x, x * 2.0):
        with pytest.raises(TapeError, match=r"in-place write: this tensor is on the tape.*use `with no_grad\(\):`"):
            tensor[0] = 1.0
    with no_grad():
        x[0] = 1.0
    assert x[0].item() == 1.0
    with pytest.raises(ShapeError, match=r"in-place write: could not broadcast .*\(the tensor is \(2,\)\)"):
        Tensor([1.0, 2.0]).copy_([1.0, 2.0, 3.0])


def test_checking_mode_names_the_line():
    x = leaf(2)
    view = x.detach()[:]
    with checking():
        y = (x * x).sum()
        view.copy_([1.0, 1.0])  # the line
        with pytest.raises(TapeError, match=r"op 'mul': its saved array 'a' was changed in place after the forward "
                                            r"pass, last by .*test_tape\.py:\d+; use a copy") as caught:
            y.backward()
    number = int(str(caught.value).split("test_tape.py:")[1].split(";")[0])
    with open(__file__) as file:
        assert file.read().splitlines()[number - 1].endswith("# the line")


def test_checking_mode_locks_what_is_saved():
    x, w = leaf(2), leaf(2, seed=1)
    with checking():
        y = (x * w).sum()
        with pytest.raises(ValueError, match="read-only"):
            w.data[0] = 5.0
        with pytest.raises(TapeError, match="in-place write: op 'mul' saved this array for backward"), no_grad():
            w.copy_([0.0, 0.0])
        y.backward()
        w.data[0] = 5.0  # free again
        with no_grad():
            w.copy_([0.0, 0.0])
    assert no_locks_are_left()


def test_checking_mode_sees_a_change_through_a_raw_view():
    x = leaf(3)
    view = x.data[:]
    with checking():
        y = (x * x).sum()
        view[0] += 1.0
        with pytest.raises(TapeError, match=r"op 'mul': its saved array '[ab]' was changed in place after the forward "
                                            "pass, through a view"):
            y.backward()


def test_locks_of_several_nodes_end_with_the_last():
    x = Tensor(np.ones(3), requires_grad=True)
    with checking():
        one, two = x * x, ops.log(x)
        del one
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 1.0
        two.sum().backward()
    x.data[0] = 1.0
    assert no_locks_are_left()


def test_a_view_unlocked_before_its_base_raises_nothing():
    x = leaf(3)
    with checking():
        product = ops.matmul(x, leaf(3, 1))  # locks a view of x, then
        square = (x * x).sum()  # locks x
    del product
    assert not x.data.flags.writeable
    del square
    assert x.data.flags.writeable
    assert no_locks_are_left()


# -- modes


def test_no_grad_records_nothing_and_is_restored():
    x = leaf(2)
    with no_grad():
        assert not (x * x).requires_grad
        with no_grad():
            pass
        assert not current_mode().recording
    assert (x * x).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert current_mode().recording

    @no_grad()
    def silent():
        return x * x

    assert not silent().requires_grad
    assert not silent().requires_grad


def test_no_grad_is_local_to_the_thread():
    x, seen = leaf(2), {}
    inside, done = threading.Event(), threading.Event()

    def other():
        inside.wait(5)
        seen["recorded"] = (x * x).requires_grad
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        assert done.wait(5)
        assert not (x * x).requires_grad
    thread.join()
    assert seen == {"recorded": True}


# -- order, sums, hooks


def test_a_value_used_twice_gets_both_gradients(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x + x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    x.zero_grad()
    y = x * 3.0
    (y * y + y).sum().backward()  # 18 x + 3
    assert x.grad.tolist() == [21.0, 39.0]
    x.zero_grad()
    (x * x * x + x.sum() * x.max()).sum().backward()  # 3 x² + 2 (x₁ + x₂) and the sum at the maximum
    assert x.grad.tolist() == [3.0 + 4.0, 12.0 + 4.0 + 6.0]


def test_a_diamond_of_many_paths_is_played_once():
    calls = []

    def counted(xp, x):
        def grad_x(g):
            calls.append(1)
            return 2.0 * g

        return 2.0 * x, (grad_x,)

    counted = Op(counted)
    x = leaf(1)
    y = x
    for _ in range(40):  # 2^40 paths
        y = counted(y)
        y = (y + y) * 0.25
    y.sum().backward()
    assert len(calls) == 40
    assert x.grad.item() == 1.0


IDS = np.array([2, 0, 2])


@pytest.mark.parametrize("rows_first", [True, False])
def test_gradients_of_rows_are_added_to_that_of_the_whole_table(rows_first):
    table = Tensor(np.arange(8.0).reshape(4, 2), requires_grad=True)

    def of_rows():
        return ops.embedding(table, IDS).sum() * 2.0

    def of_table():
        return (table * table).sum()

    one, other = (of_rows, of_table) if rows_first else (of_table, of_rows)
    (one() + other()).backward()
    expected = 2 * np.arange(8.0).reshape(4, 2)
    expected[[0, 2]] += [[2.0], [4.0]]
    np.testing.assert_array_equal(table.grad.numpy(), expected)


def test_gradients_of_rows_take_no_second_table():
    table = Tensor(np.ones((100_000, 8)), requires_grad=True)
    rows = ops.embedding(table, IDS)
    loss = rows.sum() + ops.linear_cross_entropy(rows, table, IDS)
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * table.data.nbytes  # the gradient itself was made on the way forward


def test_a_gradient_of_rows_alone_is_an_array_for_hooks_and_for_grad():
    table, seen = Tensor(np.ones((4, 2)), requires_grad=True), []
    table.register_hook(seen.append)
    ops.embedding(table, IDS).sum().backward()
    expected = np.repeat([[1.0], [0.0], [2.0], [0.0]], 2, axis=1)
    np.testing.assert_array_equal(table.grad.numpy(), expected)
    np.testing.assert_array_equal(seen[0].numpy(), expected)


def test_gradients_share_memory_with_nothing():
    x, w = leaf(2, 3), leaf(2, 3, seed=1)
    y = x + w
    y.retain_grad()
    views = [y.reshape(3, 2), y.T, y[0], x.reshape(6), ops.broadcast_to(w, shape=(2, 2, 3))]
    for v in views:
        v.retain_grad()
    g = Tensor(np.ones((2, 3)))
    total = sum((v.sum() for v in views), y * 1.0)
    total.retain_grad().backward(g)
    arrays = [t.grad.data for t in (x, w, y, total, *views)] + [x.data, w.data, y.data, g.data]
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert not np.shares_memory(a, b)


def test_a_gradient_that_is_assigned_is_a_copy(backend):
    x, w = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    x.grad = w
    x.sum().backward()
    assert x.grad.tolist() == [4.0, 5.0]
    assert w.tolist() == [3.0, 4.0]
    x.grad = None
    assert x.grad is None
    with pytest.raises(ShapeError, match=r"grad: shape is \(3,\) but the tensor is \(2,\)"):
        x.grad = Tensor([1.0, 2.0, 3.0])
    with pytest.raises(TapeError, match="grad: this tensor does not require gradients"):
        Tensor([1.0]).grad = Tensor([1.0])


def test_hooks_observe_replace_and_are_removed(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    seen = []
    y = x * 3.0
    observing = y.register_hook(lambda g: seen.append(g.tolist()))
    again = y.register_hook(lambda g: g * 10.0)
    y.sum().backward(retain_graph=True)
    assert seen == [[1.0, 1.0]]
    assert x.grad.tolist() == [30.0, 30.0]
    observing.remove()
    again.remove()
    x.zero_grad()
    y.sum().backward()
    assert len(seen) == 1
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_hook_sees_the_whole_gradient_of_a_leaf():
    x, seen = leaf(2), []
    x.register_hook(lambda g: seen.append(g.tolist()))
    (x + x * 2.0 + x.sum()).sum().backward()
    assert seen == [[5.0, 5.0]]


def test_what_a_hook_keeps_or_returns_is_not_the_gradient():
    x, constant, kept = leaf(2), Tensor(np.array([7.0, 7.0])), []
    observing = x.register_hook(kept.append)
    (x + x).sum().backward()
    (x + x).sum().backward()
    assert kept[0].tolist() == [2.0, 2.0]  # not what accumulated since
    observing.remove()
    x.zero_grad()
    x.register_hook(lambda g: constant)
    (x + x).sum().backward()
    (x + x).sum().backward()
    assert x.grad.tolist() == [14.0, 14.0]
    assert constant.tolist() == [7.0, 7.0]


def test_a_hook_of_another_shape_is_refused():
    x = leaf(2)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ShapeError, match=r"hook: returned a gradient of shape \(\) in place of \(2,\)"):
        x.sum().backward()
    assert x.grad is None
    with pytest.raises(TapeError, match="register_hook: this tensor is on no tape"):
        Tensor([1.0]).register_hook(print)


def test_retain_grad(backend):
    x = Tensor([1.0, 2.0], requires_grad=True)
    y, z = (x * 2.0).retain_grad(), x * 3.0
    (y * z).sum().backward()
    assert y.grad.tolist() == [3.0, 6.0]
    assert z.grad is None
    with pytest.raises(TapeError, match="retain_grad: this tensor is on no tape"):
        Tensor([1.0]).retain_grad()


# -- size, memory, threads


@pytest.mark.parametrize("length", [100_000, 1_000_000])
def test_long_chains_run_and_are_freed_without_recursion(length):
    """In a process of its own: a stack that overflows would take pytest with it."""
    code = f"""
import gc
from tinygrad_gpt import Tensor
x = Tensor(1.0, requires_grad=True)
gc.collect()
gc.disable()
y = x
for _ in range({length}):
    y = -y
if {length} < 1_000_000:
    del y  # never played
    y = x
    for _ in range({length}):
        y = -y
y.backward()
assert x.grad.item() == 1.0
del y
print(gc.collect())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 100  # no cycle is left to collect


def test_a_graph_is_freed_by_reference_counting_alone():
    gc.collect()
    gc.disable()
    try:
        x = leaf(4, 4)
        y = ops.softmax(ops.gelu(x @ x)).sum()
        array = weakref.ref(saved_arrays(y.node.inputs[0].pullbacks)["y"])
        del y
        assert array() is None
        y = ops.softmax(ops.gelu(x @ x)).sum()
        node = y.node
        y.backward()
        assert node.pullbacks is None  # and with it all that was saved
    finally:
        gc.enable()


def test_ten_thousand_steps_take_no_memory():
    """Peak memory and living objects after 1,000 steps and after 10,000, without the collector, in a fresh process."""
    code = """
import gc, sys
import numpy as np
from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.backend import get_backend
r = np.random.default_rng(0)
x, w, b = (Tensor(r.standard_normal(shape), requires_grad=True) for shape in ((8, 16), (16, 16), (16,)))
def steps(n):
    for _ in range(n):
        y = ops.gelu(ops.linear(x, w, b))
        (y * y).mean().backward()
        for p in (x, w, b):
            p.zero_grad()
gc.disable()
steps(1000)
peak, blocks = get_backend("numpy").memory(), sys.getallocatedblocks()
steps(9000)
print((get_backend("numpy").memory() - peak) / 9000, (sys.getallocatedblocks() - blocks) / 9000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    slope, objects = map(float, done.stdout.split())
    assert slope <= 1024  # bytes a step
    assert objects < 0.1


def test_frozen_weights_keep_no_activations():
    """Bytes that a graph holds: a layer with a frozen weight saves its weight, which exists anyway, and no input."""
    x = leaf(64, 32)
    free, frozen = leaf(32, 32, seed=1), Tensor(np.ones((32, 32)))
    assert saved_arrays(ops.linear(x, frozen).node.pullbacks).keys() == {"weight"}
    assert saved_arrays(ops.linear(x, free).node.pullbacks).keys() == {"weight", "x"}
    assert saved_arrays(ops.linear(x.detach(), free).node.pullbacks).keys() == {"x"}
    assert ops.linear(x.detach(), frozen).node is None
    assert len(ops.linear(x, free).node.pullbacks) == 2  # no bias: its pullback goes, too
    assert saved_arrays((x * 2.0).node.pullbacks).keys() == {"b"}
    assert saved_arrays(ops.layer_norm(x, Tensor(np.ones(32)), free[0]).node.pullbacks).keys() == {
        "x_hat", "rstd", "weight"}

    def kept(weight):
        y = x
        for _ in range(8):
            y = ops.linear(y, weight)
        nodes, arrays, queue = set(), {}, [y.node]
        while queue:
            node = queue.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                queue += node.inputs
                arrays |= {id(a): a.nbytes for a in saved_arrays(node.pullbacks).values()}
        return sum(arrays.values()) - weight.data.nbytes

    assert kept(frozen) == 0
    assert kept(free) == 8 * x.data.nbytes


def test_edges_lead_to_nodes_and_not_to_tensors():
    x = leaf(1000)
    y = x * 2.0
    memory = weakref.ref(y)
    z = (y + 1.0).sum()
    del y
    assert memory() is None
    z.backward()
    assert x.grad.tolist() == [2.0] * 1000


def test_threads_with_graphs_of_their_own_agree_with_one_thread():
    def train(seed):
        x, w = leaf(16, 16, seed=seed), leaf(16, 16, seed=seed + 100)
        for _ in range(20):
            loss = ops.cross_entropy(ops.layer_norm(ops.gelu(x @ w), w[0], w[1]), np.arange(16) % 16)
            loss.backward()
            with no_grad():
                w.copy_(w.data - 0.1 * w.grad.data)
            w.zero_grad()
        return w.data.tobytes() + x.grad.data.tobytes()

    alone = [train(seed) for seed in range(8)]
    together = [None] * 8

    def run(seed):
        together[seed] = train(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_saved_arrays_by_name():
    x = leaf(2, 3)
    assert list(saved_arrays(ops.softmax(x).node.pullbacks)) == ["y"]
    assert saved_arrays((x + x).node.pullbacks) == {}
    assert saved_arrays(None) == {}
    assert set(OPS["attention"].arguments) == {"q", "k", "v", "padding", "keep"}


def test_no_grad_on_a_generator_holds_inside_it_and_not_outside():
    x = Tensor([1.0], requires_grad=True)

    @no_grad()
    def values():
        got = yield x * 2.0
        yield got, x * 3.0

    generator = values()
    assert not next(generator).requires_grad
    assert (x * 2.0).requires_grad
    got, second = generator.send("sent")
    assert got == "sent"
    assert not second.requires_grad
    assert list(generator) == []


def test_switches_of_the_tape():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        assert not is_grad_enabled()
        with enable_grad():
            assert (x * 2.0).requires_grad
        with set_grad_enabled(True):
            assert (x * 2.0).requires_grad
    with set_grad_enabled(False):
        assert not (x * 2.0).requires_grad

    @no_grad
    def off():
        return x * 2.0

    assert not off().requires_grad
    assert is_grad_enabled()
