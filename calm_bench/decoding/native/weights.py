"""A model's weights as the native library reads them: padded, in panels, in few large pieces of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from calm_bench.decoding.native.structures import Layer, Matrix, Model, Probe
from calm_bench.decoding.position_bias import bias_of
from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.mlp_classifier import MlpClassifier
from calm_bench.models.weights import DecoderLayer, EncoderLayer, Weights

UNIT, HEAD_UNIT = 64, 16  # as in products.h and model.h
FLOAT32, BFLOAT16, INT8, FLOAT16 = range(4)
TYPES = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
ACTIVATIONS = ("relu", "gelu_new")
CHUNK = 64 << 20  # NumPy asks for huge pages from 4 MiB on; without them a product takes a third longer


def padded(n: int, unit: int = UNIT) -> int:
    return -(-n // unit) * unit


class Arena:
    """Memory that stays where it is, 64-byte aligned, for as long as the arena lives."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._free = np.empty(0, np.uint8)

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        size = padded(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        if size > len(self._free):
            chunk = np.empty(max(size, CHUNK) + UNIT, np.uint8)
            self._kept.append(chunk)
            self._free = chunk[-chunk.ctypes.data % UNIT :]
        taken, self._free = self._free[:size], self._free[size:]
        return taken[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)

    def address(self, values: Any, dtype: DTypeLike = np.float32, shape: Sequence[int] | None = None) -> int:
        """Where a copy of `values` lies, filled up with zeros to `shape`."""
        values = np.asarray(values)
        room = self.empty(shape or values.shape, dtype)
        if room.shape != values.shape:
            room[:] = 0
        room[tuple(slice(n) for n in values.shape)] = values
        return room.ctypes.data

    def array(self, kind: Any, items: Sequence[Any]) -> Any:
        """A C array of structures."""
        made = (kind * len(items))(*items)
        self._kept.append(made)
        return made


@dataclass(frozen=True)
class Layout:
    """How weights are laid out.

    Attributes:
        panel: outputs in a panel, which depends on the machine's vectors.
        activation: of the feed-forward layers, one of `ACTIVATIONS`.
        int8: whether all matrices but the head are rounded to int8 with a scale a row: another model, with other texts.
        preview: whether the head has its int8 copy beside it.
        float16: whether this machine has instructions that read float16.
    """

    panel: int
    activation: str
    int8: bool
    preview: bool
    float16: bool


class NativeWeights:
    """What `Model` in model.h points to, from weights on the CPU."""

    def __init__(self, weights: Weights, layout: Layout) -> None:
        self.arena, self.depth, self.vocab = Arena(), weights.depth, len(weights.head)
        self._layout, self._learned = layout, weights.learned
        self._probes: dict[str, Any] = {}
        self._heads, self._head_rows = weights.heads, weights.d_kv
        self._d, self._d_kv = padded(weights.d_model), padded(weights.d_kv, HEAD_UNIT)
        self._attention = padded(weights.heads * self._d_kv)
        self._d_ff = padded(len(weights.decoder_layers[0].feed_forward.wo))
        self.structure = self._model(weights)
        cross_kv = _bytes(self.structure.decoder[0].cross_kv)
        self.layer_bytes = _layer_bytes(self.structure.decoder[0]) - cross_kv
        self.encoder_bytes = weights.depth * cross_kv + len(weights.encoder_layers) * _layer_bytes(
            self.structure.encoder[0]
        )
        self.head_bytes = self.vocab * self._d * (1 if layout.preview else 4)

    @property
    def token_bytes(self) -> int:
        """What a token at full depth reads."""
        return self.depth * self.layer_bytes + self.head_bytes

    def probes(self, learned: str) -> Any:
        """A learned measure's weights, layer by layer."""
        if learned not in self._probes:
            self._probes[learned] = self.arena.array(Probe, self._made_probes(self._learned[learned]))
        return self._probes[learned]

    def _made_probes(self, module: nn.Module) -> list[Probe]:
        address = self.arena.address
        if isinstance(module, ExitClassifier):  # one for all layers
            weight, bias = (parameter.detach().numpy()[0] for parameter in module.linear.parameters())
            return [Probe(Matrix(), None, address(weight, shape=(self._d,)), bias)] * self.depth
        assert isinstance(module, MlpClassifier)
        weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
        units = (padded(module.units),)
        return [
            Probe(
                self._probe(_grouped(hidden.T, 2, self._d).T),  # (units, 2 d), each half padded
                address(hidden_bias.numpy(), shape=units),
                address(output.numpy(), shape=units),
                bias,
            )
            for hidden, hidden_bias, output, bias in zip(
                weights["hidden.weight"],
                weights["hidden.bias"],
                weights["output.weight"][:, 0],
                weights["output.bias"][:, 0].tolist(),
                strict=True,
            )
        ]

    def _model(self, w: Weights) -> Model:
        arena, vocab, far = self.arena, self.vocab, w.encoder_positions.max_distance
        cross = w.cross_keys_values.chunk(w.depth)
        head = w.head.float().numpy()
        model = Model(
            arena.array(Layer, [self._layer(layer) for layer in w.encoder_layers]),
            arena.array(Layer, [self._decoder_layer(*pair) for pair in zip(w.decoder_layers, cross, strict=True)]),
            embedding=arena.address(w.embedding.float().numpy(), shape=(vocab, self._d)),
            encoder_bias=arena.address(bias_of(w.encoder_positions, torch.arange(-far, far + 1)).T.numpy()),
            decoder_bias=arena.address(bias_of(w.decoder_positions, -torch.arange(far + 1)).T.numpy()),
            head=arena.address(head, shape=(vocab, self._d)),
            ends=arena.address(w.tokens.ends, np.int32),
            encoder_depth=len(w.encoder_layers),
            depth=w.depth,
            d=self._d,
            d_model=w.d_model,
            heads=w.heads,
            d_kv=self._d_kv,
            attention=self._attention,
            d_ff=self._d_ff,
            vocab=vocab,
            far=far,
            start=w.tokens.start,
            n_ends=len(w.tokens.ends),
            activation=ACTIVATIONS.index(self._layout.activation),
            gated=w.decoder_layers[0].feed_forward.gated,
            units=max((padded(m.units) for m in w.learned.values() if isinstance(m, MlpClassifier)), default=0),
            kv_type=BFLOAT16 if w.dtype is torch.bfloat16 else FLOAT32,
            epsilon=w.epsilon,
        )
        if self._layout.preview:
            self._add_preview(model, head)
        return model

    def _add_preview(self, model: Model, head: NDArray[np.float32]) -> None:
        """The head in int8, and what bounds its error: see `estimate` in head.h."""
        vocab, d = head.shape
        scales, rounded = _rounded(head)
        again = rounded * scales[:, None]
        summed = d * 2.0**-23  # n 2^-24 |a| |b| bounds the rounding of a float32 dot of n; twice that, to be safe
        model.rounding = (np.linalg.norm(head - again, axis=1) + summed * np.linalg.norm(head, axis=1)).max()
        model.reach = np.linalg.norm(again, axis=1).max() * (1 + summed)
        model.preview = self.arena.address(rounded, np.int8, (vocab, self._d))
        model.scales = self.arena.address(scales)
        model.sums = self.arena.address(rounded.sum(1), np.int32)

    def _layer(self, layer: EncoderLayer | DecoderLayer) -> Layer:
        feed_forward = layer.feed_forward
        gains = {"gain": layer.gain, "inner_gain": feed_forward.gain}
        return Layer(
            **{name: self._gain(gain) for name, gain in gains.items()},
            qkv=self._by_heads(layer.qkv),
            out=self._from_heads(layer.out),
            wi=self._held(_grouped(feed_forward.wi, 1 + feed_forward.gated, self._d_ff)),
            wo=self._held(feed_forward.wo.T),
        )

    def _decoder_layer(self, layer: DecoderLayer, cross_keys_values: Tensor) -> Layer:
        result = self._layer(layer)
        result.cross_query = self._by_heads(layer.cross_query)
        result.cross_kv = self._by_heads(cross_keys_values)
        result.cross_out = self._from_heads(layer.cross_out)
        result.cross_gain = self._gain(layer.cross_gain)
        return result

    def _gain(self, gain: Tensor | None) -> int:
        return self.arena.address(np.ones(self._d) if gain is None else gain.numpy(), shape=(self._d,))

    def _probe(self, matrix: Tensor) -> Matrix:
        """In float16 if that loses nothing, as where it was saved so."""
        half = matrix.half()
        exact = self._layout.float16 and bool((half.float() == matrix).all())
        return self._packed(half, FLOAT16) if exact else self._packed(matrix, FLOAT32)

    def _by_heads(self, matrix: Tensor) -> Matrix:
        """(n H d_kv, d), each head padded."""
        heads = len(matrix) // self._head_rows
        return self._held(_grouped(_grouped(matrix, heads, self._d_kv), heads // self._heads, self._attention))

    def _from_heads(self, matrix: Tensor) -> Matrix:
        """The transpose of (H d_kv, d), each head padded."""
        return self._held(_grouped(_grouped(matrix, self._heads, self._d_kv), 1, self._attention).T)

    def _held(self, matrix: Tensor) -> Matrix:
        return self._packed(matrix, INT8 if self._layout.int8 else TYPES[matrix.dtype])

    def _packed(self, matrix: Tensor, kind: int) -> Matrix:
        """(rows, columns) in panels; `kind` is INT8, or as the matrix is held."""
        scales = None
        if kind == INT8:
            scale, values = _rounded(matrix.float().numpy())
            scales = self.arena.address(scale, shape=(padded(len(scale)),))
            lanes: NDArray[Any] = values.astype(np.int8)
        else:
            lanes = (matrix.view(torch.int16) if kind == BFLOAT16 else matrix).numpy()
        rows, columns = (padded(n) for n in lanes.shape)
        if lanes.shape != (rows, columns):
            lanes = np.pad(lanes, ((0, rows - lanes.shape[0]), (0, columns - lanes.shape[1])))
        k = 1 if kind == FLOAT16 else 1 << kind
        packed = self.arena.empty((rows // self._layout.panel, columns // k, self._layout.panel, k), lanes.dtype)
        packed[:] = lanes.reshape(rows // self._layout.panel, self._layout.panel, columns // k, k).transpose(0, 2, 1, 3)
        return Matrix(packed.ctypes.data, scales, rows, columns, kind)


def _layer_bytes(layer: Layer) -> int:
    return sum(_bytes(getattr(layer, name)) for name in Layer.MATRICES)


def _bytes(matrix: Matrix) -> int:
    size = matrix.rows * matrix.columns
    return 2 * size if matrix.type == FLOAT16 else 4 * size >> matrix.type


def _grouped(matrix: Tensor, groups: int, size: int) -> Tensor:
    """The rows of a matrix in equal groups, each filled up with zero rows to `size`."""
    rows, columns = len(matrix) // groups, matrix.shape[1]
    if rows == size:
        return matrix
    result = matrix.new_zeros(groups, size, columns)
    result[:, :rows] = matrix.reshape(groups, rows, columns)
    return result.view(-1, columns)


def _rounded(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales (rows) and whole numbers in -127..127 (rows, columns) whose product is about the matrix."""
    scales = np.abs(matrix).max(1) / 127
    scales[scales == 0] = 1
    return scales, np.rint(matrix / scales[:, None])
