"""Dropout with PyTorch's masks, to follow a run that somebody printed."""

from typing import Any

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn.layers import Dropout
from tinygrad_gpt.nn.module import Module
from tinygrad_gpt.random import TorchStream

__all__ = ["use_torch_dropout"]


class TorchDropout(Dropout):
    """Dropout that takes its masks from a stream which other draws of the run share."""

    def __init__(self, like: Dropout, torch_stream: TorchStream):
        super().__init__(like.p)
        self.training = like.training
        self.torch_stream = torch_stream

    def state(self) -> dict[str, Any]:
        """As in `Dropout`, with the state of the stream, which all layers share."""
        return super().state() | {"stream": self.torch_stream.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """As in `Dropout`; layers that share a stream restore it to the same state."""
        super().restore({name: value for name, value in state.items() if name != "stream"})
        self.torch_stream.restore(state["stream"])

    def mask(self, like: Tensor, shape: tuple[int, ...]):
        """The next mask (shape), bool; None when not active, and then nothing is drawn."""
        return self.torch_stream.keep(self.p, *shape) if self.active else None


def use_torch_dropout(model: Module, stream: TorchStream) -> None:
    """Let every dropout of ``model`` draw from ``stream``, in the order in which the forward pass runs them.

    On the NumPy backend only; the masks are those of `TorchStream.keep`.
    """
    for _, module in list(model.named_modules()):
        for name, child in vars(module).copy().items():
            if isinstance(child, Dropout):
                setattr(module, name, TorchDropout(child, stream))
