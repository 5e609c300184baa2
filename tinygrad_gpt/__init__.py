"""Every gradient of GPT-2, readable, checked and fast, on NumPy and CuPy.

Nothing is imported until it is asked for: `import tinygrad_gpt` costs a millisecond, and a program that
uses only the autograd never loads a model.
"""

from importlib import import_module

TYPE_CHECKING = False  # that of typing would have to be imported, and a signal meanwhile has nobody to answer it
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_MODULES = ("backend", "nn", "ops", "optim", "study", "text")
_NAMES = {
    "GPT2": "tinygrad_gpt.models.gpt2",
    "GPT2Config": "tinygrad_gpt.models.gpt2",
    "GPTClassifier": "tinygrad_gpt.estimator",
    "OPS": "tinygrad_gpt.engine",
    "Tensor": "tinygrad_gpt.engine",
    "TinygradError": "tinygrad_gpt.errors",
    "Tokenizer": "tinygrad_gpt.text",
    "checking": "tinygrad_gpt.engine",
    "grad": "tinygrad_gpt.engine.functional",
    "gradcheck": "tinygrad_gpt.study.entries",
    "hessian": "tinygrad_gpt.engine.functional",
    "hvp": "tinygrad_gpt.engine.functional",
    "jacobian": "tinygrad_gpt.engine.functional",
    "jvp": "tinygrad_gpt.engine.functional",
    "manual_seed": "tinygrad_gpt.random",
    "no_grad": "tinygrad_gpt.engine",
    "op": "tinygrad_gpt.engine",
    "using_ops": "tinygrad_gpt.engine",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> "Any":
    """Import a public name the first time it is touched (PEP 562)."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    if _NAMES[name].startswith((f"{__name__}.engine", f"{__name__}.study")):
        import_module(f"{__name__}.ops")  # the operators of Tensor are looked up in OPS, which ops/ fills
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
