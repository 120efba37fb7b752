"""A decoder's weights in the kernels' layout: each matrix has a row for every number that it gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from calm_bench.decoding.position_bias import decoder_bias
from calm_bench.models.weights import Weights

ACTIVATIONS = ("relu", "gelu_new", "gelu", "silu")  # by transformers' names


@dataclass(frozen=True)
class LayerRows:
    qkv: Tensor  # (3 H d_kv, d)
    out: Tensor  # (d, H d_kv)
    cross_query: Tensor  # (H d_kv, d)
    cross_out: Tensor  # (d, H d_kv)
    wi: Tensor  # (d_ff or 2 d_ff, d)
    wo: Tensor  # (d, d_ff)

    @property
    def nbytes(self) -> int:
        return sum(matrix.nbytes for matrix in vars(self).values())


class WeightRows:
    """What the kernels read of `Weights`, which they share where the layout is the same.

    Attributes:
        layers: the decoder's, in order.
        self_keys_values: K and V rows of all layers' qkv, (L, 2 H d_kv, d).
        embedding, head: (V, d).
        learned: each learned measure's weights by name, in float32. units: the MLP classifier's hidden units, or 0.
        gated, activation: of the feed-forward blocks; the activation is a name in ACTIVATIONS.
    """

    def __init__(self, weights: Weights, activation: str) -> None:
        self._weights = weights
        self.heads, self.d_kv, self.epsilon = weights.heads, weights.d_kv, weights.epsilon
        self.depth, self.d_model, self.dtype = weights.depth, weights.d_model, weights.dtype
        self.width = self.heads * self.d_kv
        self.layers = [
            LayerRows(
                layer.qkv,
                layer.out.T.contiguous(),
                layer.cross_query,
                layer.cross_out.T.contiguous(),
                layer.feed_forward.wi,
                layer.feed_forward.wo.T.contiguous(),
            )
            for layer in weights.decoder_layers
        ]
        self.d_ff = self.layers[0].wo.shape[1]
        self.self_keys_values = weights.self_keys_values
        self.embedding, self.head = weights.embedding, weights.head
        self.learned: dict[str, dict[str, Tensor]] = {
            name: {key: parameter.detach() for key, parameter in module.named_parameters()}
            for name, module in weights.learned.items()
        }
        self.units = self.learned["mlp_classifier"]["hidden.bias"].shape[1] if "mlp_classifier" in self.learned else 0
        self.gated = weights.decoder_layers[0].feed_forward.gated
        self.activation = activation

    def bias(self, positions: int) -> Tensor:
        """Of a query towards a key, by head and by their distance 0..positions - 1, (H, positions)."""
        return decoder_bias(self._weights, positions)[0, :, 0].flip(-1).contiguous()
