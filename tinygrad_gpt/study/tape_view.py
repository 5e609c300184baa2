"""What a forward pass recorded: every node of the tape, what it keeps for backward, and where its gradient is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from types import CodeType

from tinygrad_gpt.backend import Array
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.engine.tape import Node, nodes_below
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.study.show import place
from tinygrad_gpt.terminal import Printed, aligned

__all__ = ["NodeView", "Saved", "TapeView", "view_tape"]


@dataclass(frozen=True)
class Saved:
    """An array that a node keeps.

    Args:
        name: what the op calls it.
        shape, dtype: of the array.
        bytes: of the memory that it keeps alive: a view keeps all of the array that it shows.
        parameter: name of the parameter whose memory this is; None if the tape alone keeps it.
        again: whether the same memory is kept already, by an earlier node or under an earlier name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    parameter: str | None
    again: bool

    @property
    def counted(self) -> bool:
        """Whether this is memory that the tape adds."""
        return not self.again and self.parameter is None

    def __str__(self):
        return f"[{self.name}]" if self.parameter else f"({self.name})" if self.again else self.name


@dataclass(frozen=True)
class NodeView:
    """One node of the tape.

    Args:
        number: its place on the tape, from 0.
        op: name of the op; None for a leaf.
        label: name of the op or of the parameter; "leaf" for one without a name.
        shape: of the result.
        inputs: (argument, number of its node) for each argument that gets a gradient.
        saved: the arrays that it keeps.
        gradients: file:line of the pullbacks in the op's plain function.
        seconds: of its forward pass, the layer's own code included, and of its pullbacks; None where not measured.
    """

    number: int
    op: str | None
    label: str
    shape: tuple[int, ...]
    inputs: tuple[tuple[str, int], ...]
    saved: tuple[Saved, ...]
    gradients: tuple[str, ...]
    seconds: tuple[float, float] | None = None

    @property
    def bytes(self) -> int:
        """What this node adds to the memory that the tape keeps."""
        return sum(saved.bytes for saved in self.saved if saved.counted)


@dataclass(frozen=True)
class TapeView(Printed):
    """The nodes below one result, in the order of the tape. ``print`` shows them as a table."""

    nodes: tuple[NodeView, ...]

    @property
    def bytes(self) -> int:
        """All memory that the tape keeps for backward, parameters not counted."""
        return sum(node.bytes for node in self.nodes)

    def __str__(self):
        rows = [["", "op or parameter", "result", "inputs", "saved", "bytes", "gradient"]]
        rows += [[str(n.number), n.label, str(n.shape), " ".join(str(number) for _, number in n.inputs),
                  " ".join(map(str, n.saved)), f"{n.bytes:,}" if n.saved else "", _short(n.gradients)]
                 for n in self.nodes]
        kinds = "><<<<><"
        if any(n.seconds for n in self.nodes):
            rows = [[*row[:6], *times, row[6]] for row, times in zip(rows, self._times(), strict=True)]
            kinds = "><<<<>>><"
        return "\n".join([*aligned(rows, kinds), "", self.totals()])

    def _times(self) -> list[list[str]]:
        """Two more columns: milliseconds forward and back, of each node."""
        return [["forward ms", "back ms"],
                *([f"{1e3 * t:.3f}" for t in n.seconds] if n.seconds else ["", ""] for n in self.nodes)]

    def totals(self) -> str:
        """The sums, and how to read the brackets of the table."""
        ops = [node for node in self.nodes if node.op]
        counted = sum(saved.counted for node in ops for saved in node.saved)
        forward, back = (1e3 * sum(n.seconds[i] for n in ops if n.seconds) for i in (0, 1))
        times = f" Forward {forward:.1f} ms, back {back:.1f} ms." if any(n.seconds for n in ops) else ""
        return (f"{len(self.nodes)} nodes: {len(ops)} ops, {len(self.nodes) - len(ops)} leaves. "
                f"Kept for backward: {self.bytes:,} bytes in {counted} arrays.{times}\n"
                "(x): memory that is kept already. [x]: memory of a parameter. Neither is counted.")

    def dot(self) -> str:
        """The graph in the language of Graphviz: ``dot -Tsvg``."""
        lines = ["digraph tape {", "  rankdir=BT;", "  node [shape=box, fontname=monospace, style=filled, "
                                                    "fillcolor=white];"]
        for n in self.nodes:
            text = [n.label, str(n.shape), *([f"{' '.join(map(str, n.saved))}: {n.bytes:,} B"] if n.saved else [])]
            colour = "" if n.op else ", fillcolor=lightgrey"
            lines.append(f"  n{n.number} [label={_quoted(*text)}{colour}];")
        lines += [f"  n{source} -> n{n.number} [label={_quoted(argument)}];"
                  for n in self.nodes for argument, source in n.inputs]
        return "\n".join([*lines, "}"])


def view_tape(result: Tensor, parameters: Iterable[tuple[str, Tensor]] = ()) -> TapeView:
    """Look at what the computation of ``result`` recorded; before ``backward``, which frees it.

    Args:
        result: usually the loss.
        parameters: ``model.named_parameters()``, so that the table can call the leaves by their names.

    Raises:
        TapeError: "view_tape: this tensor is on no tape…"; "view_tape: the graph through op 'mul' was freed…".

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> print(view_tape((x * x).sum(), [("x", x)]))
           op or parameter  result  inputs  saved  bytes  gradient
        0  x                (2,)
        1  mul              (2,)    0 0     [b] [a]    0  tinygrad_gpt/ops/elementwise.py:66,69
        2  sum              ()      1                     tinygrad_gpt/ops/reduce.py:40
    """
    if result._node is None:
        raise TapeError("view_tape: this tensor is on no tape; compute it from a tensor with requires_grad=True")
    parameters = list(parameters)
    names = {tensor._node: name for name, tensor in parameters if tensor._node}
    owners = {id(_memory(tensor.data)): name for name, tensor in parameters}
    nodes = nodes_below(result._node)
    numbers = {node: number for number, node in enumerate(nodes)}
    seen: set[int] = set()
    return TapeView(tuple(_view(node, names, numbers, tuple(_saved(node, owners, seen)))
                          for node in nodes))


def _view(node, names, numbers, saved):
    if node.op is None:
        return NodeView(numbers[node], None, names.get(node, "leaf"), node.shape, (), (), ())
    if node.pullbacks is None:
        raise TapeError(f"view_tape: the graph through op '{node.op.name}' was freed by backward; look before that, "
                        "or call backward(retain_graph=True)")
    inputs = tuple((node.op.argument(i), numbers[source]) for i, source in enumerate(node.inputs) if source)
    return NodeView(numbers[node], node.op.name, node.op.name, node.shape, inputs, saved, _gradients(node, inputs))


def _gradients(node: Node, inputs: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Where the gradients that a node needs are defined, in the op's plain function, whichever form ran."""
    plain = node.op.function.__code__
    named = {code.co_name: code for code in plain.co_consts if isinstance(code, CodeType)}
    codes = [named["grads"]] if "grads" in named else [
        named[name] for argument, _ in inputs if (name := f"grad_{argument}") in named]
    if not codes:  # pullbacks under other names
        pullbacks = [node.pullbacks] if callable(node.pullbacks) else [p for p in node.pullbacks if p]
        codes = [pullback.__code__ for pullback in pullbacks]
    return tuple(map(place, codes))


def _saved(node: Node, owners: dict[int, str], seen: set[int]) -> Iterator[Saved]:
    """The arrays of one node; ``seen`` collects the memory that is kept already."""
    for name, array in saved_arrays(node.pullbacks).items():
        memory = _memory(array)
        yield Saved(name, array.shape, str(array.dtype), memory.nbytes, owners.get(id(memory)), id(memory) in seen)
        seen.add(id(memory))


def _memory(array: Array) -> Array:
    """The array that owns the memory which ``array`` shows."""
    while hasattr(array.base, "nbytes"):
        array = array.base
    return array


def _short(places: tuple[str, ...]) -> str:
    """Places with the path of each file said once: ``ops/matmul.py:80,83``."""
    files = groupby((p.rsplit(":", 1) for p in places), key=lambda parts: parts[0])
    return " ".join(f"{path}:{','.join(line for _, line in lines)}" for path, lines in files)


def _quoted(*lines: str) -> str:
    """A Graphviz string of several lines."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
