"""What optimisers share: groups of parameters, checks, and their state."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.mode import switched
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import CheckpointError, DTypeError, UsageError

__all__ = ["Optimizer", "check_range"]


class Optimizer:
    """Base of SGD, Adam and AdamW; an optimiser says in `new_state` what it keeps, and in `update` what a step does.

    Args:
        params: leaf tensors, or dictionaries with ``"params"`` and the settings of that group.
        settings: those of groups that do not say otherwise.

    Attributes:
        param_groups: the groups, each a dictionary of ``"params"`` and settings, which may be assigned to.
        state: what is kept for each parameter: ``"step"``, its updates so far, and arrays.
        steps: calls of `step` so far.

    Raises:
        UsageError: no parameters, one that is no leaf or comes twice, or a setting outside its range.
        DTypeError: something that is no tensor.
    """

    def __init__(self, params: Iterable[Any], **settings: Any):
        self.name, self.defaults, self.steps = type(self).__name__, settings, 0
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, (Tensor, str, Mapping)) or not isinstance(params, Iterable):
            raise DTypeError(f"{self.name}: the parameters are a {type(params).__name__}; give a list of tensors")
        groups = list(params)
        if not groups:
            raise UsageError(f"{self.name}: no parameters; is the whole model frozen?")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Update more parameters; what the group does not say is as in the first ones."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise DTypeError(f"{self.name}: a group of parameters is a dictionary with 'params'")
        params = param_group["params"]
        if isinstance(params, (str, set, Mapping)):
            raise DTypeError(f"{self.name}: the parameters are a {type(params).__name__}; give a list of tensors")
        params = [params] if isinstance(params, Tensor) else [_parameter(self.name, p) for p in params]
        group = {**self.defaults, **param_group, "params": params}
        if unknown := group.keys() - self.defaults.keys() - {"params"}:
            raise UsageError(f"{self.name}: a group has the unknown setting {min(unknown)!r}; "
                             f"it can have {', '.join(self.defaults)}")
        self.check(group)
        known = {id(p) for p in self.parameters}
        if len(known | {id(p) for p in params}) < len(known) + len(params):
            raise UsageError(f"{self.name}: a parameter is given twice; leave one out")
        self.param_groups.append(group)
        self.state |= {p: {"step": 0, **self.new_state(p, group)} for p in params}

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings outside their range."""
        raise NotImplementedError

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Array]:
        """What is kept for a parameter between steps."""
        raise NotImplementedError

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change the parameter's array in place; ``g`` is its gradient, which is only read."""
        raise NotImplementedError

    @property
    def parameters(self) -> list[Tensor]:
        """Those of all groups."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """Step size of the first group; to assign to it sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros."""
        for parameter in self.parameters:
            parameter.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place.

        Args:
            closure: computes the loss anew, with its gradients, before the update.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with switched(recording=True):
                loss = closure()
        self.steps += 1
        for group in self.param_groups:
            pairs = [(p, p.grad.data) for p in group["params"] if p.grad is not None]
            for p, _ in pairs:
                self.state[p]["step"] += 1
            self.update_all(pairs, group)
            for p, _ in pairs:
                p.mark_changed()
        return loss

    def update_all(self, pairs: list[tuple[Tensor, Array]], group: dict[str, Any]) -> None:
        """Update the parameters of a group that have gradients, each paired with its own."""
        for p, g in pairs:
            self.update(p.data, g, self.state[p], group)

    # -- state in and out

    def state_dict(self) -> dict[str, Any]:
        """State and settings, with the numbers of the parameters in their place; the tensors share memory."""
        numbers = {id(p): i for i, p in enumerate(self.parameters)}
        state = {i: {name: value if name == "step" else Tensor(value) for name, value in self.state[p].items()}
                 for i, p in enumerate(self.parameters)}
        groups = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups, "steps": self.steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from the ``state_dict`` of an optimiser over the same parameters, with its settings.

        Raises:
            CheckpointError: other groups, or a state of other names or shapes; nothing was changed.
        """
        state, groups = state_dict.get("state", {}), state_dict.get("param_groups", [])
        sizes = [len(group["params"]) for group in self.param_groups]
        if [len(group["params"]) for group in groups] != sizes:
            raise CheckpointError(f"{self.name}: the state has groups of {[len(g['params']) for g in groups]} "
                                  f"parameters, this optimiser of {sizes}; was it saved with other parameters trained?")
        for i, p in enumerate(self.parameters):
            shapes = {name: np.shape(value) for name, value in self.state[p].items()}
            if {name: tuple(np.shape(value)) for name, value in state.get(i, {}).items()} != shapes:
                raise CheckpointError(f"{self.name}: the state of parameter {i} does not fit; "
                                      "was it saved with other parameters trained?")
        for i, p in enumerate(self.parameters):
            for name, value in self.state[p].items():
                if name == "step":
                    self.state[p][name] = int(state[i][name])
                else:
                    value[...] = Tensor(state[i][name], backend=backend_of(value).name).data
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({name: value for name, value in group.items() if name != "params"})
        self.steps = int(state_dict.get("steps", max(self.state[p]["step"] for p in self.parameters)))


def check_range(name: str, group: Mapping[str, Any], *settings: str) -> None:
    """Refuse settings that are negative or not a number.

    Raises:
        UsageError: "SGD: lr is -0.1; expected at least 0".
    """
    for setting in settings:
        value = group[setting]
        if isinstance(value, (str, bool)) or not value >= 0:
            raise UsageError(f"{name}: {setting} is {value!r}; expected a number of at least 0")


def _parameter(name, p):
    """A parameter, also from a pair of its name and itself."""
    if isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str):
        p = p[1]
    if not isinstance(p, Tensor):
        raise DTypeError(f"{name}: a parameter is a {type(p).__name__}; give tensors")
    if not p.is_leaf:
        raise UsageError(f"{name}: a parameter is no leaf: an op computed it; give the tensors that it was made from")
    return p
