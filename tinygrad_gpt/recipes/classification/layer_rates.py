"""Learning rates that fall from layer to layer, and layers that begin to be trained one after another.

Source: Howard and Ruder 2018, arXiv:1801.06146, sections 3.2 and 3.3 (discriminative finetuning, gradual unfreezing).
"""

import re

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.nn import Module

__all__ = ["LayerRates", "layers_from_the_top"]

BLOCK = re.compile(r"transformer\.h\.(\d+)\.")
EMBEDDINGS = re.compile(r"transformer\.(w\w+|ln_e)\.")


def layers_from_the_top(model: Module) -> list[list[Tensor]]:
    """Trained parameters: of the head with what is above the blocks, of each block from the last to the first, and of
    the embeddings. What is frozen leaves an empty list.
    """
    names = [name for name, _ in model.named_parameters()]
    n_layer = 1 + max(int(found[1]) for name in names if (found := BLOCK.match(name)))
    layers: list[list[Tensor]] = [[] for _ in range(n_layer + 2)]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            block = BLOCK.match(name)
            depth = n_layer - int(block[1]) if block else (n_layer + 1) * bool(EMBEDDINGS.match(name))
            layers[depth].append(parameter)
    return layers


class LayerRates:
    """What part of the learning rate each layer has.

    Args:
        model: what is trained.
        decay: each layer has this times the rate of the one above it.
        unfreeze: share of the run in which the layers below the head begin to be trained, one after another.
    """

    def __init__(self, model: Module, decay: float, unfreeze: float):
        layers = layers_from_the_top(model)
        self.decay, self.unfreeze, self.deepest = decay, unfreeze, len(layers) - 1
        self.layers = [(depth, layer) for depth, layer in enumerate(layers) if layer]

    def groups(self) -> list[dict]:
        """The parameters in groups for an optimiser, the head first."""
        return [{"params": layer} for _, layer in self.layers]

    def shares(self, done: float) -> list[float]:
        """The factor of each group when a share ``done`` of the run is over; 0: it is not trained yet."""
        return [self.decay**depth * (done >= self.unfreeze * depth / self.deepest) for depth, _ in self.layers]
