"""Every gradient of GPT-2, readable, checked and fast, on NumPy and CuPy.

Nothing is imported until it is asked for: `import tinygrad_gpt` costs a millisecond, and a program that
uses only the autograd never loads a model.
"""

from importlib import import_module
from math import e, inf, nan, pi

TYPE_CHECKING = False  # that of typing would have to be imported, and a signal meanwhile has nobody to answer it
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_MODULES = ("backend", "nn", "ops", "optim", "study", "text")
_BY_MODULE = {
    "checkpoints.objects": "load save",
    "engine": "OPS Tensor checking no_grad op using_ops",
    "engine.pytorch.accelerators": "backends cuda",
    "engine.pytorch.autograd": "autograd",
    "engine.pytorch.creation": "arange as_tensor empty empty_like eye from_numpy full full_like is_tensor linspace "
                               "ones ones_like tensor zeros zeros_like",
    "engine.pytorch.device": "device",
    "engine.pytorch.dtypes": "bfloat16 double finfo float16 float32 float64 get_default_dtype half iinfo int16 int32 "
                             "int64 int8 long short uint8",
    "engine.functional": "grad hessian hvp jacobian jvp",
    "engine.mode": "enable_grad inference_mode is_grad_enabled set_grad_enabled",
    "engine.pytorch.printing": "set_printoptions",
    "engine.pytorch.random_tensors": "Generator multinomial normal rand rand_like randint randn randn_like randperm",
    "errors": "TinygradError",
    "estimator": "GPTClassifier",
    "models.bert": "Bert BertConfig",
    "models.gpt2": "GPT2 GPT2Config",
    "random": "manual_seed",
    "study.entries": "gradcheck",
    "text": "Tokenizer",
}
_NAMES = {name: f"{__name__}.{module}" for module, names in _BY_MODULE.items() for name in names.split()}

_OTHER_NAMES = {"cat": "concat"}

# Reached as `tinygrad_gpt.float`, but left out of `from tinygrad_gpt import *`, which would hide Python's own.
_HIDING = dict.fromkeys(("bool", "float", "int"), f"{__name__}.engine.pytorch.dtypes")

__all__ = ["__version__", "e", "inf", "nan", "pi", *_MODULES, *_NAMES]


def __getattr__(name: str) -> "Any":
    """Import a public name the first time it is touched (PEP 562); so is every op, and every method of Tensor."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    ops = import_module(f"{__name__}.ops")  # the operators of Tensor are looked up in OPS, which ops/ fills
    home = _NAMES.get(name) or _HIDING.get(name)
    value = getattr(import_module(home) if home else ops, _OTHER_NAMES.get(name, name), None)
    if value is None:
        value = getattr(import_module(f"{__name__}.engine").Tensor, name, None)  # dot(a, b) is a.dot(b)
    if not callable(value) and not home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
