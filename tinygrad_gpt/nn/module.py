"""Module: a tree of parameters, walked in the order in which it was defined."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError, UsageError
from tinygrad_gpt.nn.listing import listing
from tinygrad_gpt.nn.module_hooks import Handle, ModuleHooks
from tinygrad_gpt.nn.names import check_name, joined, members
from tinygrad_gpt.nn.parameter import Parameter
from tinygrad_gpt.nn.summary import Summary, summarise
from tinygrad_gpt.nn.weights import Matched, host_dtype, matching
from tinygrad_gpt.terminal import Printed

__all__ = ["Module", "Parameter"]


class Module(Printed):
    """Base of all layers and models.

    Attributes that are Parameters or Modules, also inside lists, tuples and dictionaries, form the tree; `ModuleList`
    and its like print them and give them names. Tensors that belong to the module but are not trained are buffers,
    see `register_buffer`.
    """

    training = True
    _hooks: ModuleHooks | None = None

    def __call__(self, *args, **settings):
        if self._hooks is None:
            return self.forward(*args, **settings)
        return self._hooks.call(self, args, settings)

    def forward(self, *args, **settings):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    # -- the tree

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_attribute(name, value)
        if value is None and isinstance(vars(self).get(name), Parameter):
            self._absent_names().add(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._buffers().pop(name, None)
        vars(self).get("_absent", set()).discard(name)

    def _check_attribute(self, name, value):
        """Refuse what would drop a parameter, a module or a buffer out of the tree, or never get in.

        Raises:
            DTypeError: "Linear: cannot assign a Tensor as parameter 'weight'; …"; "Net: 'layers' is a set of modules…".
        """
        old = vars(self).get(name)
        absent = old is None and name in vars(self).get("_absent", ()) and not isinstance(value, Module)
        for kind, wanted in ((Parameter, "parameter"), (Module, "module")):
            known = isinstance(old, kind) or (absent and kind is Parameter)
            if known and not (value is None or isinstance(value, (Parameter, kind))):
                raise DTypeError(f"{type(self).__name__}: cannot assign a {type(value).__name__} as {wanted} {name!r}; "
                                 f"give a {kind.__name__} or None"
                                 + ("" if old is None or kind is Module else ", or write into it under no_grad"))
        if name in self._buffers() and not (value is None or isinstance(value, Tensor)):
            raise DTypeError(f"{type(self).__name__}: cannot assign a {type(value).__name__} as buffer {name!r}; "
                             "give a Tensor or None")
        if "." in name and isinstance(value, (Module, Parameter)):
            raise UsageError(f"{type(self).__name__}: {name!r} is no name; give one without dots")
        if isinstance(value, (set, frozenset, deque)) and any(isinstance(v, (Module, Parameter)) for v in value):
            raise DTypeError(f"{type(self).__name__}: {name!r} is a {type(value).__name__} of modules or parameters, "
                             "which has no names for them; use ModuleList, ModuleDict or ParameterList")

    def _own(self) -> Iterator[tuple[str, "Module | Parameter"]]:
        """The modules and parameters that are attributes, or in lists, tuples or dictionaries that are."""
        for name, value in vars(self).items():
            yield from members(name, value, (Module, Parameter))

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly below, each once."""
        seen = set()
        for name, child in self._own():
            if isinstance(child, Module) and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator["Module"]:
        """The modules directly below, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self, memo: set | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, with dotted names, parents first, each once.

        Args:
            memo: modules that are left out; those that are met are added.
            prefix: of all names.
            remove_duplicate: whether a module at two places comes once, under its first name.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._own():
            if isinstance(child, Module):
                yield from child.named_modules(memo, joined(prefix, name), remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, parents first, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names; one that is used in two places comes once, under its first name.

        Args:
            prefix: of all names.
            recurse: whether those of the modules below come too.
            remove_duplicate: False: every name of each parameter.
        """
        seen = set()
        for path, module in self._walk(prefix, recurse, remove_duplicate):
            for name, child in module._own():
                if isinstance(child, Parameter) and not (remove_duplicate and id(child) in seen):
                    seen.add(id(child))
                    yield joined(path, name), child

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names; the arguments are those of `named_parameters`."""
        seen = set()
        for path, module in self._walk(prefix, recurse, remove_duplicate):
            for name in module._buffers():
                buffer = getattr(module, name)
                if buffer is not None and not (remove_duplicate and id(buffer) in seen):
                    seen.add(id(buffer))
                    yield joined(path, name), buffer

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _walk(self, prefix, recurse, remove_duplicate):
        return self.named_modules(None, prefix, remove_duplicate) if recurse else iter([(prefix, self)])

    def _buffers(self) -> dict[str, bool]:
        """Names of the buffers, and whether each is saved."""
        return vars(self).get("_buffer_names", {})

    def _absent_names(self) -> set[str]:
        """Names of parameters that are None for now."""
        return vars(self).setdefault("_absent", set())

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained, but moved and, if ``persistent``, saved with the parameters."""
        check_name(self, name)
        if not (tensor is None or isinstance(tensor, Tensor)):
            raise DTypeError(f"register_buffer: {name!r} is a {type(tensor).__name__}; give a Tensor or None")
        vars(self).setdefault("_buffer_names", {})[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name."""
        check_name(self, name)
        if not (param is None or isinstance(param, Parameter)):
            raise DTypeError(f"register_parameter: {name!r} is a {type(param).__name__}; give a Parameter or None")
        setattr(self, name, param)
        if param is None:
            self._absent_names().add(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name."""
        check_name(self, name)
        if not (module is None or isinstance(module, Module)):
            raise DTypeError(f"add_module: {name!r} is a {type(module).__name__}; give a Module or None")
        setattr(self, name, module)

    register_module = add_module

    def get_submodule(self, target: str) -> "Module":
        """The module below of this dotted name; "" is the module itself."""
        for name, module in self.named_modules(remove_duplicate=False):
            if name == target:
                return module
        raise UsageError(f"get_submodule: {type(self).__name__} has no module {target!r}; see named_modules()")

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of this dotted name."""
        parameters = dict(self.named_parameters(remove_duplicate=False))
        if target not in parameters:
            raise UsageError(f"get_parameter: {type(self).__name__} has no parameter {target!r}; "
                             "see named_parameters()")
        return parameters[target]

    def trainable(self) -> list[Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def size(self) -> int:
        """How many numbers the parameters hold."""
        return sum(parameter.size for parameter in self.parameters())

    # -- what is done to the whole tree

    def apply(self, fn: Callable[["Module"], None]) -> Self:
        """Call ``fn`` with every module below and with this one, last; returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on (or off) in the whole tree; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch dropout off in the whole tree; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters below take gradients, or none; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def freeze(self, frozen: bool = True) -> Self:
        """Let no parameter below take a gradient (or let all); returns the module."""
        return self.requires_grad_(not frozen)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for parameter in self.parameters():
            parameter.zero_grad(set_to_none)

    def to(self, *args, **settings) -> Self:
        """Move parameters and buffers, or convert those that hold floats, in place; the arguments are `Tensor.to`'s."""
        for tensor in (*self.parameters(), *self.buffers()):
            gradient, tensor.data = tensor.grad, tensor.detach().to(*args, **settings).data
            if gradient is not None:
                tensor.grad = gradient
        return self

    def float(self) -> Self:
        """`to` float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """`to` float64."""
        return self.to(np.float64)

    def half(self) -> Self:
        """`to` float16."""
        return self.to(np.float16)

    def register_forward_hook(self, hook: Callable[["Module", tuple, Any], Any]) -> Handle:
        """Call ``hook(module, args, output)`` after each forward; what it returns, if not None, is the output.

        Returns:
            A handle whose ``remove()`` takes the hook away.
        """
        self._hooks = self._hooks or ModuleHooks()
        return self._hooks.add(self._hooks.after, hook)

    def register_forward_pre_hook(self, hook: Callable[["Module", tuple], Any]) -> Handle:
        """Call ``hook(module, args)`` before each forward; what it returns, if not None, replaces the arguments."""
        self._hooks = self._hooks or ModuleHooks()
        return self._hooks.add(self._hooks.before, hook)

    # -- weights in and out

    def _state(self) -> dict[str, Tensor]:
        """Parameters and saved buffers under all their names, module by module."""
        state: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            state |= module.named_parameters(path, recurse=False, remove_duplicate=False)
            state |= {joined(path, name): buffer for name, buffer in module.named_buffers(recurse=False)
                      if module._buffers()[name]}
        return state

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter and saved buffer by name, off the tape; they share the module's memory."""
        return {name: tensor.detach() for name, tensor in self._state().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """The same on the host; on NumPy the very memory."""
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Matched:
        """Overwrite every parameter and saved buffer; either all or, if anything does not fit, none.

        Args:
            state_dict: arrays or tensors by name.
            strict: whether there must be one for each name, and no other.

        Returns:
            ``missing_keys`` and ``unexpected_keys``.

        Raises:
            CheckpointError: counts what is missing, unexpected, misshapen, not a float, or not finite, and lists as
                much of it as one line holds.
        """
        pairs, names = matching(self._state(), state_dict, strict)
        for tensor, array in pairs:
            tensor.data[...] = backend_of(tensor.data).from_numpy(array.astype(host_dtype(tensor)))
            tensor.mark_changed()
        return names

    def adopt_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Let every parameter take an array of `state` as its memory; one that does not serve as it is, is converted.

        An array serves if it is on the parameter's backend and of its dtype, contiguous, aligned and writable: the
        weights of a mapped file, say, which then are not copied. Each array must belong to one parameter only.

        Raises:
            CheckpointError: as in `load_state_dict`.
        """
        for tensor, array in matching(self._state(), state)[0]:
            own = np.require(array, host_dtype(tensor), ["C", "A", "W"])
            tensor.data = backend_of(tensor.data).from_numpy(own)

    # -- as text

    def summary(self) -> Summary:
        """Each parameter with its shape, their number, and the memory they take; printed as a table."""
        return summarise(self.named_parameters())

    def extra_repr(self) -> str:
        """The sizes and settings that the listing shows."""
        return ""

    def _listed(self) -> list[tuple[str, str]]:
        return [(name, repr(child)) for name, child in self._own() if isinstance(child, Module)]

    def __repr__(self):
        return listing(type(self).__name__, self.extra_repr(), self._listed())
