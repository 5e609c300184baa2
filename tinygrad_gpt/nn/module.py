"""Module: a tree of parameters, walked in the order in which it was defined."""

from collections.abc import Iterator, Mapping

import numpy as np

from tinygrad_gpt.backend import backend_of, default_backend
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A leaf Tensor that a Module owns; made from a NumPy array, it goes to the default backend."""

    __slots__ = ()

    def __init__(self, data):
        super().__init__(default_backend().from_numpy(np.asarray(data)), requires_grad=True)


class Module:
    """Base of all layers and models. Attributes that are Parameters, Modules or lists of Modules form the tree."""

    training = True

    def __call__(self, *args, **settings):
        return self.forward(*args, **settings)

    def forward(self, *args, **settings):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    # -- the tree

    def _children(self) -> Iterator[tuple[str, "Module | Parameter"]]:
        for name, value in vars(self).items():
            if isinstance(value, (Module, Parameter)):
                yield name, value
            elif isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, with dotted names, parents first."""
        yield prefix, self
        for name, child in self._children():
            if isinstance(child, Module):
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names; one that is used in two places comes once, under its first name."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, child in module._children():
                if isinstance(child, Parameter) and id(child) not in seen:
                    seen.add(id(child))
                    yield (f"{prefix}.{name}" if prefix else name), child

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def trainable(self) -> list[Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def size(self) -> int:
        """How many numbers the parameters hold."""
        return sum(parameter.size for parameter in self.parameters())

    # -- states

    def train(self, training: bool = True):
        """Switch dropout on (or off) in the whole tree; returns the module."""
        for _, module in self.named_modules():
            module.training = training
        return self

    def eval(self):
        """Switch dropout off in the whole tree; returns the module."""
        return self.train(False)

    def freeze(self, frozen: bool = True):
        """Let no parameter below take a gradient (or let all); returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = not frozen
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    # -- weights in and out

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every parameter on the host, by name; on NumPy the very memory."""
        return {name: parameter.numpy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Overwrite every parameter; either all or, if anything does not fit, none.

        Raises:
            CheckpointError: lists all that is missing, unexpected, misshapen, not a float, or not finite.
        """
        for parameter, array in self._matched(state):
            parameter.data[...] = backend_of(parameter.data).from_numpy(array.astype(_dtype(parameter)))
            parameter.mark_changed()

    def adopt_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Let every parameter take an array of `state` as its memory; one that does not serve as it is, is converted.

        An array serves if it is on the parameter's backend and of its dtype, contiguous, aligned and writable: the
        weights of a mapped file, say, which then are not copied. Each array must belong to one parameter only.

        Raises:
            CheckpointError: as in `load_state_dict`.
        """
        for parameter, array in self._matched(state):
            own = np.require(array, _dtype(parameter), ["C", "A", "W"])
            parameter.data = backend_of(parameter.data).from_numpy(own)

    def _matched(self, state: Mapping[str, np.ndarray]) -> list[tuple[Parameter, np.ndarray]]:
        """Every parameter with its array, if all fit."""
        own = dict(self.named_parameters())
        problems = [f"missing {name} {own[name].shape}" for name in own if name not in state]
        problems += [f"unexpected {name} {np.shape(state[name])}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            problems += _misfits(name, own[name], np.asarray(state[name]))
        if problems:
            raise CheckpointError(f"load_state_dict: {len(problems)} of the tensors do not fit: "
                                  f"{'; '.join(sorted(problems))}; was it saved from another configuration?")
        return [(parameter, np.asarray(state[name])) for name, parameter in own.items()]


def _dtype(parameter: Parameter) -> np.dtype:
    """The parameter's dtype on the host."""
    return np.dtype(str(parameter.dtype))


def _misfits(name, parameter, array):
    if array.shape != parameter.shape:
        return [f"{name} is {array.shape}, expected {parameter.shape}"]
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return [f"{name} is {array.dtype}, expected floats"]
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 would become infinite
        values = array.astype(_dtype(parameter), copy=False)
        if np.isfinite(np.vdot(values, values)):  # one pass, no array; where finite squares overflow, we look below
            return []
        finite = np.isfinite(values)
    if not finite.all():
        return [f"{name} holds {np.count_nonzero(~finite)} values that are not finite as {parameter.dtype}"]
    return []
