"""Which kernels run in which order: a layer, a question to a measure, an exit."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from calm_bench.choices import StateCopying
from calm_bench.decoding.cuda.buffers import Buffers
from calm_bench.decoding.cuda.kernels import exits, measures
from calm_bench.decoding.cuda.kernels import layer as layers
from calm_bench.decoding.cuda.tiles import Block, Shares, Tiles, power_of_two
from calm_bench.decoding.cuda.weight_rows import WeightRows
from calm_bench.measures import Classifier, Entropy, MaxProb, Measure, MlpClassifier, Softmax, State


class Launches:
    """Launches of kernels over one set of buffers; all are asynchronous, and may be captured in a graph."""

    def __init__(self, weights: WeightRows, tiles: Tiles, buffers: Buffers, start_token: int) -> None:
        self._weights, self._tiles, self._buffers, self._start_token = weights, tiles, buffers, start_token
        device = buffers.states.device
        self._overlap = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)

    def start(self) -> None:
        """Embed the start token at position 0."""
        w, b = self._weights, self._buffers
        exits.start_text[(1,)](
            w.embedding, self._start_token, b.states, b.position, w.d_model, self._tiles.d, **self._options()
        )

    def layer(self, layer: int) -> None:
        """Run a layer, 1..L, on the state before it."""
        rows, t, b = self._weights.layers[layer - 1], self._tiles, self._buffers
        before, cross, cache = b.states[layer - 1], b.cross[layer - 1], b.cache[layer - 1]
        self._project(rows.qkv, before, cache, t.qkv)
        self._attend(cache, b.position, t.positions + 1, t.text, to_itself=True)
        self._join_heads(rows.out, before, b.after_attention, t.text)
        self._project(rows.cross_query, b.after_attention, cache, t.query)
        self._attend(cross, b.source_length, t.source_positions, t.source, to_itself=False)
        self._join_heads(rows.cross_out, b.after_attention, b.after_cross, t.source)
        self._feed_forward(rows.wi, rows.wo, b.after_cross, b.states[layer])

    def ask(self, measure: Measure, layer: int) -> None:
        """Write the measure's confidence after a layer into the host's memory."""
        w, b, t = self._weights, self._buffers, self._tiles
        host = b.confidences, b.position, layer
        match measure:
            case State():
                measures.confidence_of_state[(1,)](b.states, *host, w.depth, w.d_model, t.d, **self._options())
            case Classifier():
                learned = w.learned["classifier"]
                measures.confidence_of_classifier[(1,)](
                    learned["linear.weight"], learned["linear.bias"], b.states, *host,
                    w.depth, w.d_model, t.d, **self._options(),
                )  # fmt: skip
            case MlpClassifier():
                learned = {name: weight[layer - 1] for name, weight in w.learned["mlp_classifier"].items()}
                units = len(b.units)
                measures.hidden_units[(t.units.programs(units),)](
                    learned["hidden.weight"], learned["hidden.bias"], b.states, b.units, layer, w.epsilon,
                    units, w.d_model, t.d, t.units.rows, **self._options(t.units.warps),
                )  # fmt: skip
                measures.confidence_of_units[(1,)](
                    learned["output.weight"], learned["output.bias"], b.units, *host,
                    units, power_of_two(units), w.depth, **self._options(),
                )  # fmt: skip
            case Softmax() | MaxProb() | Entropy():
                self._exit(b.layers[layer], b.layers[layer], t.head_programs, 0, statistics=True)
                programs, log = (t.head_programs, power_of_two(t.head_programs)), math.log(len(w.head))
                measures.confidence_of_logits[(1,)](
                    b.statistics, *host, *programs, log, measure.name, w.depth, **self._options()
                )
            case _:
                raise AssertionError(f"{measure.name} is not in MEASURES")

    def find_agreeing_layer(self) -> None:
        """Set the exit layer to the oracle's; all layers have run."""
        w, b, t = self._weights, self._buffers, self._tiles
        for layer in range(1, w.depth + 1):
            self._exit(b.layers[layer], b.layers[layer], t.head_programs, 0)
        exits.find_agreeing_layer[(1,)](
            b.best, b.exit_layer, *self._head_programs, len(w.head), w.depth, **self._options()
        )

    def leave(self, layer: int | None, copying: StateCopying, *, token_known: bool) -> None:
        """Write the token of an exit and fill the skipped layers; the state before layer 1 is then the next token's.

        Args:
            layer: the exit layer, 1..L; None for the one that `find_agreeing_layer` has set.
            copying: what the layers above are given.
            token_known: whether a question at that layer has applied the head already.
        """
        w, b, t = self._weights, self._buffers, self._tiles
        exit_layer = b.exit_layer if layer is None else b.layers[layer]
        copied = exit_layer if copying == "exit_state" else b.layers[1]
        skipped = w.depth - (layer or 1)
        projected = skipped if copying in ("exit_state", "first_state") else 0
        fill_programs = t.skipped.programs(projected * 2 * w.width)
        head_programs = 0 if token_known else t.head_programs
        if head_programs + fill_programs:
            self._exit(exit_layer, copied, head_programs, fill_programs)
        if copying == "projected_kv" and skipped:
            exits.copy_keys_values[(w.depth - 1,)](
                exit_layer, b.cache, b.position,
                w.width, power_of_two(2 * w.width), w.d_kv, t.positions + 1, **self._options(),
            )  # fmt: skip
        exits.write_token[(1,)](
            b.best, b.states, exit_layer, w.embedding, b.position, b.written,
            *self._head_programs, len(w.head), w.d_model, t.d, **self._options(),
        )  # fmt: skip

    def _project(self, rows: Tensor, state: Tensor, cache: Tensor, block: Block) -> None:
        w, b, t = self._weights, self._buffers, self._tiles
        layers.project[(block.programs(len(rows)),)](
            rows, state, b.query, cache, b.position, w.epsilon,
            len(rows), w.width, w.d_kv, t.positions + 1, w.d_model, t.d, block.rows, **self._options(block.warps),
        )  # fmt: skip

    def _attend(self, keys_values: Tensor, length: Tensor, held: int, shares: Shares, *, to_itself: bool) -> None:
        w, b, t = self._weights, self._buffers, self._tiles
        layers.attend[(w.heads * shares.count,)](
            b.query, keys_values[0], keys_values[1], b.bias, length, b.mixed, b.highest, b.total,
            w.d_kv, t.d_kv, held, shares.tile, shares.count, to_itself, **self._options(4 if shares.tile <= 128 else 8),
        )  # fmt: skip

    def _join_heads(self, rows: Tensor, state: Tensor, out: Tensor, shares: Shares) -> None:
        w, b, t = self._weights, self._buffers, self._tiles
        layers.join_heads[(t.out.programs(w.d_model),)](
            rows, b.mixed, b.highest, b.total, state, out,
            w.heads, t.heads, w.d_kv, t.d_kv, shares.count, w.d_model, t.out.rows, **self._options(t.out.warps),
        )  # fmt: skip

    def _feed_forward(self, wi: Tensor, wo: Tensor, state: Tensor, out: Tensor) -> None:
        w, b, t = self._weights, self._buffers, self._tiles
        layers.widen[(t.widen.programs(w.d_ff),)](
            wi, state, b.hidden, w.epsilon,
            w.d_ff, w.d_model, t.d, t.widen.rows, w.gated, w.activation, **self._options(t.widen.warps),
        )  # fmt: skip
        layers.narrow[(t.narrow.programs(w.d_model),)](
            wo, b.hidden, state, out,
            w.d_model, w.d_ff, t.d_ff, t.narrow.rows, **self._options(t.narrow.warps),
        )  # fmt: skip

    def _exit(
        self, exit_layer: Tensor, copied: Tensor, head_programs: int, fill_programs: int, *, statistics: bool = False
    ) -> None:
        w, b, t = self._weights, self._buffers, self._tiles
        exits.leave[(head_programs + fill_programs,)](
            w.head, w.self_keys_values, b.states, exit_layer, copied, b.cache, b.position, b.best, b.statistics,
            w.epsilon, head_programs, len(w.head), t.head_repeats, t.head.rows, statistics, w.depth, w.width, w.d_kv,
            t.positions + 1, t.skipped.rows, w.d_model, t.d, **self._options(t.head.warps),
        )  # fmt: skip

    @property
    def _head_programs(self) -> tuple[int, int]:
        return self._tiles.head_programs, power_of_two(self._tiles.head_programs)

    def _options(self, warps: int = 4) -> dict[str, Any]:
        if not self._overlap:
            return {"OVERLAP": False, "num_warps": warps}
        return {"OVERLAP": True, "num_warps": warps, "launch_pdl": True}
