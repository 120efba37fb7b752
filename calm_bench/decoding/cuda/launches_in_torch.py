"""What `launches.py` does, in torch's operations: where there is no Triton, or a kernel is missing, these are captured.

Nothing here asks the device for a number: positions, lengths and exit layers stay in tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from calm_bench.choices import StateCopying
from calm_bench.decoding.cuda.buffers import BROKEN, UNANSWERED, Buffers
from calm_bench.decoding.layer import Context, Layers, embed, head, keys_values, normed
from calm_bench.measures import Measure, Visit
from calm_bench.models.weights import Weights


class LaunchesInTorch:
    """Takes the place of `Launches`; it is `layer.Rows` of one row, whose keys are all that the cache has room for.

    Kernels write an answer into the host's memory, at its place. Torch can copy only to the same place each time, so
    all answers of a text are kept on the device and copied after each.
    """

    def __init__(self, weights: Weights, buffers: Buffers) -> None:
        self._weights, self._buffers = weights, buffers
        self._confidences = torch.empty_like(buffers.confidences, device=weights.device)
        self._written = torch.empty_like(buffers.written, device=weights.device)
        self._known = torch.zeros(weights.depth + 1, dtype=torch.int64, device=weights.device)  # each layer's token
        self._positions = torch.arange(buffers.positions + 1, device=weights.device)
        self._source_positions = torch.arange(buffers.source_positions, device=weights.device)
        self._padding = torch.zeros(1, 1, 1, buffers.source_positions, device=weights.device)
        self._layers = Layers(weights, Context(buffers.cross[:, :, None], self._padding), buffers.positions + 1)

    def start(self) -> None:
        """Embed the start token at position 0."""
        b = self._buffers
        self._confidences.fill_(UNANSWERED)
        self._written.zero_()
        self._padding.zero_().masked_fill_(self._source_positions >= b.source_length, float("-inf"))
        b.position.zero_()
        b.states[0] = self._weights.embedding[self._weights.tokens.start].float()

    def layer(self, layer: int) -> None:
        """Run a layer, 1..L, on the state before it."""
        self._buffers.states[layer] = self._layers.run(layer, self._buffers.states[layer - 1][None], self)[0]

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the position's K and V, (1, 2, H, d_kv); all that the cache holds, (1, H, T + 1, d_kv) each."""
        self._fill(layer, keys_values[0])
        keys, values = self._buffers.cache[layer - 1, :, None].float().unbind()
        return keys, values

    def bias(self, by_distance: Tensor) -> Tensor:
        """(1, H, 1, T + 1): -inf towards later positions."""
        distance = self._buffers.position - self._positions
        return by_distance[..., -1 - distance.clamp(min=0)].masked_fill(distance < 0, float("-inf"))

    def spread(self, queries: Tensor) -> Tensor:
        return queries[:, :, None]

    def gather(self, mixed: Tensor) -> Tensor:
        return mixed.flatten(1)

    def ask(self, measure: Measure, layer: int) -> None:
        """Write the measure's confidence after a layer into the host's memory."""
        b = self._buffers
        visit = Visit(layer, b.states[layer][None], b.states[layer - 1][None], self._head, self._weights.learned)
        self._confidences[:, layer - 1].index_copy_(0, self._position, measure.confidence(visit).float())
        if measure.needs_logits:
            self._known[layer : layer + 1] = visit.best
        b.confidences.copy_(self._confidences, non_blocking=True)

    def find_agreeing_layer(self) -> None:
        """Set the exit layer to the oracle's; all layers have run."""
        tokens = self._known[1:]
        tokens.copy_(self._head(self._buffers.states[1:]).argmax(-1))
        self._buffers.exit_layer.copy_((tokens == tokens[-1]).int().argmax() + 1)

    def leave(self, layer: int | None, copying: StateCopying, *, token_known: bool) -> None:
        """As `Launches.leave`."""
        w, b = self._weights, self._buffers
        exit_layer = (b.exit_layer if layer is None else b.layers[layer, :1]).long()
        state = b.states[exit_layer]
        if copying in ("exit_state", "first_state"):
            source = normed(w, state if copying == "exit_state" else b.states[1:2])
        for above in range((layer or 1) + 1, w.depth + 1):
            match copying:
                case "exit_state" | "first_state":
                    self._fill(above, keys_values(w, above, source)[0], skipped=exit_layer < above)
                case "projected_kv":
                    self._fill(above, self._held(b.cache[exit_layer - 1][0]), skipped=exit_layer < above)
        token = self._known[exit_layer] if token_known else self._head(state).argmax(-1)
        is_broken = state.isnan().any()
        self._written.index_copy_(0, self._position, (exit_layer << 32) + torch.where(is_broken, BROKEN, token))
        b.written.copy_(self._written, non_blocking=True)
        b.position += 1
        b.states[:1] = embed(w, token.masked_fill(is_broken, 0))

    def _fill(self, layer: int, keys_values: Tensor, skipped: Tensor | None = None) -> None:
        """Write a layer's K and V at the position, (2, H, d_kv); a layer that was not `skipped` keeps its own."""
        cache = self._buffers.cache[layer - 1]
        kept = keys_values.to(cache.dtype)
        if skipped is not None:
            kept = torch.where(skipped, kept, self._held(cache))
        cache.index_copy_(2, self._position, kept[:, :, None])

    def _held(self, cache: Tensor) -> Tensor:
        """K and V at the position, (2, H, d_kv), of a layer's (2, H, T + 1, d_kv)."""
        return cache.index_select(2, self._position)[:, :, 0]

    @property
    def _position(self) -> Tensor:
        return self._buffers.position.long()

    def _head(self, states: Tensor) -> Tensor:
        return head(self._weights, states)
