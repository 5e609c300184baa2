"""Modules that hold modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList.

Each item is an attribute under its key, "0", "1" … in a list, so it is named and replaced like any other.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import DTypeError, ShapeError
from tinygrad_gpt.nn.listing import merged
from tinygrad_gpt.nn.module import Module
from tinygrad_gpt.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterList", "Sequential"]


class Items(Module):
    """What the containers share: a list of the attributes that are modules or parameters, in their order."""

    kinds: tuple[type, ...] = (Module,)

    def __init__(self, items: Iterable[Any] = ()):
        self.extend(items)

    def _keys(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, self.kinds)]

    def _checked(self, item: Any) -> Any:
        if not isinstance(item, self.kinds):
            raise DTypeError(f"{type(self).__name__}: an item is a {type(item).__name__}; "
                             f"give a {self.kinds[0].__name__}")
        return item

    def _key(self, index: int) -> str:
        """The key at a place; a negative one counts from the end."""
        keys = self._keys()
        if not -len(keys) <= index < len(keys):
            raise ShapeError(f"{type(self).__name__}: index {index} is outside its {len(keys)} items")
        return keys[index]

    def _set(self, items: Iterable[Any]) -> None:
        """Hold these items instead, numbered anew."""
        items = list(items)
        for key in self._keys():
            delattr(self, key)
        for i, item in enumerate(items):
            setattr(self, str(i), self._checked(item))

    def __len__(self) -> int:
        return len(self._keys())

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, key) for key in self._keys())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, item: Any) -> None:
        setattr(self, self._key(index), self._checked(item))

    def __delitem__(self, index: int | slice) -> None:
        items = list(self)
        del items[index if isinstance(index, slice) else self._keys().index(self._key(index))]
        self._set(items)

    def __add__(self, other: Iterable[Any]) -> "Items":
        return type(self)([*self, *other])

    def __iadd__(self, other: Iterable[Any]) -> Self:
        return self.extend(other)

    def append(self, item: Any) -> Self:
        """Add an item at the end; returns the container."""
        return self.extend([item])

    def extend(self, items: Iterable[Any]) -> Self:
        """Add items at the end; returns the container."""
        for item in list(items):
            setattr(self, str(len(self)), self._checked(item))
        return self

    def insert(self, index: int, item: Any) -> None:
        """Add an item before a place."""
        items = list(self)
        items.insert(index, item)
        self._set(items)

    def pop(self, index: int = -1) -> Any:
        """Take an item out."""
        item = self[index]
        del self[index]
        return item


class ModuleList(Items):
    """A list of modules."""

    def _listed(self) -> list[tuple[str, str]]:
        return merged(super()._listed())


class ParameterList(Items):
    """A list of parameters; tensors become parameters."""

    kinds = (Parameter,)

    def _checked(self, item: Any) -> Any:
        plain = isinstance(item, Tensor) and not isinstance(item, Parameter)
        return super()._checked(Parameter(item) if plain else item)

    def _listed(self) -> list[tuple[str, str]]:
        return [(key, f"Parameter containing: [{getattr(self, key).dtype} of size {'x'.join(map(str, shape))}]")
                for key in self._keys() for shape in [getattr(self, key).shape]]


class Sequential(Items):
    """Modules that are called one after the other, each with what the one before returned.

    Args:
        modules: the modules, or one dictionary of modules by name.
    """

    def __init__(self, *modules: Any):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(module))
        else:
            self.extend(modules)

    def forward(self, x: Any) -> Any:
        """What the last module returns."""
        for module in self:
            x = module(x)
        return x

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential({key: getattr(self, key) for key in self._keys()[index]})
        return super().__getitem__(index)

    def __add__(self, other: Iterable[Module]) -> "Sequential":
        return Sequential(*self, *other)


class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.update(modules or {})

    def _items(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __contains__(self, key: object) -> bool:
        return key in self._items()

    def __getitem__(self, key: str) -> Module:
        return self._items()[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._items().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._items().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Pairs of name and module."""
        return self._items().items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules, or replace those of the same names."""
        for name, module in modules.items():
            self[name] = module

    def pop(self, key: str) -> Module:
        """Take a module out."""
        module = self[key]
        del self[key]
        return module
