"""The early-exit decoder: many examples and many rules in one pass.

Two ideas carry it. A *row* is one text being written; every layer runs on the rows that have not left yet, and a token
that leaves hands its state to the layers above it (state copying, CALM section 3.3.1) as keys and values from one
stacked product. And *rules share a row until they part*: rules whose exits have agreed so far have the same history, so
one row serves them all; at the end of a step the rules of a row are grouped by where they left, and each group goes on
as a row of its own. `reference.py` says what all this must compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from calm_bench.decoding.cache import KeyValueCache
from calm_bench.decoding.encoder import Memory, encode
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.plan import Plan
from calm_bench.decoding.rows import Rows
from calm_bench.decoding.rule import Rule
from calm_bench.decoding.state_copying import KINDS, fill_skipped
from calm_bench.decoding.visits import Visits, on_device
from calm_bench.decoding.weights import FusedT5
from calm_bench.measures.measure import Measure, Visit
from calm_bench.models.t5 import EarlyExitT5

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def decode(
    model: EarlyExitT5 | FusedT5,
    sources: Sequence[Sequence[int]],
    rules: Sequence[Rule],
    max_new_tokens: int,
    *,
    batch_size: int = 32,
    on_batch: Callable[[int], object] = lambda examples: None,
) -> Generations:
    """Greedy early-exit decoding of every source under every rule.

    Args:
        model: an `EarlyExitT5`, or its weights already fused.
        sources: E lists of token ids, such as `model.tokenize(texts)` gives.
        rules: R rules.
        max_new_tokens: N, the most tokens of a text, end-of-sequence included.
        batch_size: examples decoded together; it changes no result.
        on_batch: called with the number of examples done after each batch, for a progress bar.

    Returns:
        Generations with axes (E, R, N).
    """
    weights = model if isinstance(model, FusedT5) else FusedT5(model)
    result = Generations.empty(len(sources), len(rules), max_new_tokens)
    by_length = sorted(range(len(sources)), key=lambda example: len(sources[example]))
    for start in range(0, len(by_length), batch_size):
        batch = by_length[start : start + batch_size]
        part = generate(
            weights, encode_sources(weights, [sources[example] for example in batch]), rules, max_new_tokens
        )
        result.token_ids[batch] = part.token_ids
        result.exit_layers[batch] = part.exit_layers
        result.confidences[batch] = part.confidences
        on_batch(len(batch))
    return result


@torch.inference_mode()
def encode_sources(weights: FusedT5, sources: Sequence[Sequence[int]]) -> Memory:
    """Run the encoder on one batch of sources."""
    return encode(weights, sources)


@torch.inference_mode()
def generate(weights: FusedT5, memory: Memory, rules: Sequence[Rule], max_new_tokens: int) -> Generations:
    """Decode one batch of encoded examples under every rule."""
    batch = _Batch(weights, memory, rules, max_new_tokens)
    for step in range(max_new_tokens):
        batch.step(step)
        if batch.is_done:
            break
    return batch.result


class _Batch:
    """The texts of one batch as they are being written.

    A *pair* is an example and a rule. `pair_row[p]` is the row that writes its text; pairs that have ended are dropped.
    """

    def __init__(self, weights: FusedT5, memory: Memory, rules: Sequence[Rule], max_new_tokens: int) -> None:
        examples = memory.examples
        self.weights, self.memory = weights, memory
        self.plan = Plan(rules, weights.depth, max_new_tokens)
        self.result = Generations.empty(examples, len(rules), max_new_tokens)
        self.cache = KeyValueCache(examples, weights.depth, weights.heads, weights.d_kv, weights.device, weights.dtype)
        self.cross = [layer.unbind() for layer in memory.keys_values.unbind()]
        self.bias = weights.decoder_bias(max_new_tokens)
        self.pair_example = np.repeat(np.arange(examples), len(rules))
        self.pair_rule = np.tile(np.arange(len(rules)), examples)
        self.pair_row = self.pair_example.copy()
        self.row_example = np.arange(examples)
        self.row_slot = np.arange(examples)
        self.row_token = np.full(examples, weights.start_token)

    @property
    def is_done(self) -> bool:
        return len(self.pair_row) == 0

    def step(self, step: int) -> None:
        """Write one more token of every text that has not ended."""
        self.cache.make_room(step)
        visits = Visits(self.weights.head)
        exit_layer, confidence = self._run_layers(step, visits)
        if self.plan.has_oracle:
            oracles = np.flatnonzero(self.plan.oracles[self.pair_rule])
            exit_layer[oracles] = visits.earliest_agreeing_layers(self.pair_row[oracles])
        self._part(step, visits, exit_layer, confidence)

    def _run_layers(self, step: int, visits: Visits) -> tuple[Ints, NDArray[np.float32]]:
        """Run layers until all pairs have left; where each pair left and how confident it was."""
        weights, plan, rule = self.weights, self.plan, self.pair_rule
        undecided = np.ones(len(rule), np.bool_)
        exit_layer = np.zeros(len(rule), np.int64)
        confidence = np.full(len(rule), np.nan, np.float32)
        last = plan.last[rule]
        rows = self._rows(np.arange(len(self.row_token)))
        state = weights.embed(torch.from_numpy(self.row_token).to(weights.device))
        for layer in range(1, weights.depth + 1):
            previous, state = state, self._run_layer(layer, state, rows, step)
            visits.add(rows.number, state)
            leaving = undecided & (last == layer)
            for measure, asks, users in zip(plan.measures, plan.asks, plan.users, strict=True):
                if layer == measure.memory_layer:
                    self._remember(measure, layer, rows.number, state, previous, undecided & users[rule], visits)
                asking = np.flatnonzero(undecided & asks[layer - 1][rule])
                if len(asking):
                    passed, values = self._ask(measure, layer, step, rows.number, state, previous, asking, visits)
                    leaving[passed] = True
                    confidence[passed] = values
            if not leaving.any():
                continue
            exit_layer[leaving] = layer
            undecided &= ~leaving
            staying = undecided | plan.runs_on[rule]
            if not staying.any():
                break
            going_on = _distinct(self.pair_row[staying], len(self.row_token))
            if len(going_on) < len(rows.number):
                state = state[on_device(np.searchsorted(rows.number, going_on), state)]
                rows = self._rows(going_on)
        return exit_layer, confidence

    def _rows(self, number: Ints) -> Rows:
        return Rows.of(number, self.row_slot[number], self.row_example[number], self.memory.examples, self.cache)

    def _run_layer(self, layer: int, x: Tensor, rows: Rows, step: int) -> Tensor:
        """State after `layer` of the rows, (n, d), from their state before it; writes their keys and values."""
        weights = self.weights
        w = weights.decoder_layers[layer - 1]
        linear, addmm = weights.products.linear, weights.products.addmm
        qkv = linear(weights.normed(x), w.qkv).view(-1, 3, weights.heads, weights.d_kv)
        keys, values = self.cache.append(layer, rows.slots, step, qkv[:, 1:])
        bias = self.bias[..., -step - 1 :]
        mixed = functional.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values, attn_mask=bias, scale=1.0)
        x = addmm(x, mixed.reshape(len(x), -1), w.out)
        query = linear(weights.normed(x), w.cross_query).view(-1, weights.heads, weights.d_kv)
        query = rows.spread(query, self.memory.examples)
        keys, values = self.cross[layer - 1]
        mixed = functional.scaled_dot_product_attention(
            query, keys.float(), values.float(), attn_mask=self.memory.bias, scale=1.0
        )
        x = addmm(x, rows.gather(mixed), w.cross_out)
        return w.feed_forward(x, weights.normed(x))

    def _remember(
        self,
        measure: Measure,
        layer: int,
        number: Ints,
        state: Tensor,
        previous: Tensor,
        wanting: Bools,
        visits: Visits,
    ) -> None:
        """Let a measure keep something of the rows whose pairs may ask it at this layer or above."""
        rows = np.unique(self.pair_row[wanting])
        if len(rows):
            position = on_device(np.searchsorted(number, rows), state)
            visit = Visit(layer, state[position], previous[position], self.weights.head, self.weights.classify)
            visits.remember(measure, rows, measure.remember(visit))

    def _ask(
        self,
        measure: Measure,
        layer: int,
        step: int,
        number: Ints,
        state: Tensor,
        previous: Tensor,
        asking: Ints,
        visits: Visits,
    ) -> tuple[Ints, NDArray[np.float32]]:
        """Which of the asking pairs are confident enough to leave, and their confidences."""
        asked_rows = self.pair_row[asking]
        asked = _distinct(asked_rows, len(self.row_token))  # each row is asked once
        if len(asked) < len(number):
            position = on_device(np.searchsorted(number, asked), state)
            state, previous = state[position], previous[position]
        memory = visits.memory(measure, asked)
        visit = Visit(layer, state, previous, self.weights.head, self.weights.classify, memory)
        confidence = measure.confidence(visit).cpu().numpy()
        if np.isnan(confidence).any():
            raise FloatingPointError(f"confidence of {measure.name} is NaN at layer {layer}, position {step}")
        pair_confidence = confidence[np.searchsorted(asked, asked_rows)]
        passes = pair_confidence >= self.plan.thresholds[step, self.pair_rule[asking]]
        if measure.needs_logits and passes.any():
            leaving = np.unique(asked_rows[passes])
            logits = visit.logits[on_device(np.searchsorted(asked, leaving), state)]
            visits.know_tokens(layer, leaving, logits.argmax(-1).cpu().numpy())
        return asking[passes], pair_confidence[passes]

    def _part(self, step: int, visits: Visits, exit_layer: Ints, confidence: NDArray[np.float32]) -> None:
        """Write down the tokens, and let each row go on once for every exit layer and kind of copying of its rules."""
        shape = len(self.row_token), self.weights.depth + 1, len(KINDS)
        fates = np.ravel_multi_index((self.pair_row, exit_layer, self.plan.copying[self.pair_rule]), shape)
        fates, group = np.unique(fates, return_inverse=True)
        parent, layer, copying = np.unravel_index(fates, shape)
        states = visits.states(parent, layer)
        if (broken := states.isnan().any(-1)).any():
            raise FloatingPointError(f"state is NaN at layer {layer[int(broken.int().argmax())]}, position {step}")
        tokens = visits.tokens(parent, layer, states)

        where = self.pair_example, self.pair_rule, step
        self.result.token_ids[where] = tokens[group]
        self.result.exit_layers[where] = exit_layer
        self.result.confidences[where] = confidence

        goes_on = tokens != self.weights.end_token
        if not goes_on.all():
            self._drop_ended(goes_on[group])
            self.cache.release(self.row_slot[np.setdiff1d(parent, parent[goes_on])])
            group = (np.cumsum(goes_on) - 1)[group[goes_on[group]]]
            parent, layer, copying, tokens = parent[goes_on], layer[goes_on], copying[goes_on], tokens[goes_on]
            states = states[on_device(np.flatnonzero(goes_on), states)]
            if self.is_done:
                return
        slots = self.row_slot[parent]
        again = np.flatnonzero(parent[1:] == parent[:-1]) + 1  # the first group keeps its parent's slot
        if len(again):
            slots[again] = self.cache.copy(slots[again], step + 1)
        self._copy_states(step, visits, parent, slots, layer, copying, states)
        self.row_example, self.row_slot, self.row_token = self.row_example[parent], slots, tokens
        self.pair_row = group

    def _drop_ended(self, goes_on: Bools) -> None:
        self.pair_example, self.pair_rule = self.pair_example[goes_on], self.pair_rule[goes_on]
        self.pair_row = self.pair_row[goes_on]

    def _copy_states(
        self, step: int, visits: Visits, parent: Ints, slots: Ints, layer: Ints, copying: Ints, states: Tensor
    ) -> None:
        """Give each row's skipped layers their keys and values."""
        for exit_layer, kind in sorted(set(zip(layer.tolist(), copying.tolist(), strict=True))):
            if exit_layer < self.weights.depth:
                left = np.flatnonzero((layer == exit_layer) & (copying == kind))
                state = states[on_device(left, states)]
                first_state = partial(visits.states, parent[left], np.ones_like(left))
                fill_skipped(KINDS[kind], self.weights, self.cache, step, slots[left], exit_layer, state, first_state)


def _distinct(rows: Ints, count: int) -> Ints:
    """The distinct ones of row numbers below `count`, ascending; they are not empty."""
    return rows[:1] if count == 1 else np.flatnonzero(np.bincount(rows, minlength=count))
