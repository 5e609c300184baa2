"""Module: a tree of parameters, walked in the order in which it was defined."""

from collections.abc import Iterator, Mapping

import numpy as np

from tinygrad_gpt.backend import backend_of, default_backend
from tinygrad_gpt.errors import CheckpointError
from tinygrad_gpt.tensor import Tensor

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
        """All parameters with dotted names; one that stands at two places comes once, under its first name."""
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
        own = dict(self.named_parameters())
        problems = [f"missing {name} {own[name].shape}" for name in own if name not in state]
        problems += [f"unexpected {name} {np.shape(state[name])}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            problems += _misfits(name, own[name], np.asarray(state[name]))
        if problems:
            raise CheckpointError(f"load_state_dict: {len(problems)} of the tensors do not fit: "
                                  f"{'; '.join(sorted(problems))}; was it saved from another configuration?")
        for name, parameter in own.items():
            backend = backend_of(parameter.data)
            parameter.data[...] = backend.from_numpy(np.asarray(state[name]).astype(np.dtype(str(parameter.dtype))))
            parameter.mark_changed()


def _misfits(name, parameter, array):
    if array.shape != parameter.shape:
        return [f"{name} is {array.shape}, expected {parameter.shape}"]
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return [f"{name} is {array.dtype}, expected floats"]
    with np.errstate(over="ignore"):  # a float64 beyond float32 would become infinite
        finite = np.isfinite(array.astype(np.dtype(str(parameter.dtype))))
    if not finite.all():
        return [f"{name} holds {np.count_nonzero(~finite)} values that are not finite as {parameter.dtype}"]
    return []
