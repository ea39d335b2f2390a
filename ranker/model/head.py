"""What every head is: views in, one score per pair out."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ranker.model.backbone import Classify
from ranker.model.views import Views
from ranker.settings.model import RankerConfig


class Shape(NamedTuple):
    """What a head has to know of the backbone before it: the ``width`` of a vector, and how many ``layers``."""

    width: int
    layers: int


class Parts(NamedTuple):
    """What a head may be made from: the settings, the backbone's shape, the stock model, and its way to classes.

    ``projection`` is what is done to a text's pooled vector where texts are read apart.
    """

    config: RankerConfig
    shape: Shape
    stock: Any
    classify: Classify
    projection: nn.Sequential


class Head(nn.Module):
    """One score per pair from its views.

    ``classifies`` says whether the stock model is a classifier, whose weights it uses.
    """

    classifies: ClassVar[bool] = False

    def __init__(self, parts: Parts) -> None:  # noqa: ARG002  # every head is made alike
        super().__init__()

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        raise NotImplementedError

    def vectors(self, pooled: Tensor) -> Tensor:
        """What a text that is read alone is indexed by.

        Shape: (N, H times the poolings) to (N, ``Reranker.width``).
        """
        return pooled


def linear(width: int) -> nn.Linear:
    """From a vector to one score, drawn as BERT draws new weights (Devlin et al. 2019: normal, 0.02)."""
    layer = nn.Linear(width, 1)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
