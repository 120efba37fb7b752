"""Many examples and many rules, step by step.

Two ideas carry it. A *row* is one text being written; every layer runs on the rows that have not left yet, and a token
that leaves hands its state to the layers above it (state copying, CALM section 3.3.1) as keys and values from one
stacked product. And *rules share a row until they part*: rules whose exits have agreed so far have the same history, so
one row serves them all; at the end of a step the rules of a row are grouped by where they left, and each group goes on
as a row of its own. `reference.py` says what all this must compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.decoding.generations import Generations
from calm_bench.decoding.grid.cache import KeyValueCache
from calm_bench.decoding.grid.plan import Plan
from calm_bench.decoding.grid.rows import Rows
from calm_bench.decoding.grid.visits import Visits
from calm_bench.decoding.layer import Context, Layers, embed, head, keys_values, normed
from calm_bench.decoding.rule import Rule
from calm_bench.decoding.state_copying import KINDS
from calm_bench.measures.asking import LayerPass, index_like
from calm_bench.models.weights import Weights

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Groups:
    """G groups of rules that left one row at one layer, with one token and kind of state copying: the next rows.

    Attributes:
        parent: the row that wrote their token, ascending, (G,).
        layer: where they left it, 1..L, (G,).
        copying: the index of their kind of state copying in `KINDS`, (G,).
        token: what they wrote, (G,).
        state: the row's state at the exit, (G, d).
    """

    parent: Ints
    layer: Ints
    copying: Ints
    token: Ints
    state: Tensor

    def only(self, kept: Bools) -> Groups:
        """Some of them, (G,)."""
        state = self.state[index_like(self.state, np.flatnonzero(kept))]
        return Groups(self.parent[kept], self.layer[kept], self.copying[kept], self.token[kept], state)


class Batch:
    """The texts of one batch as they are being written.

    A *pair* is an example and a rule, `pair` its number; those that have ended are dropped. `pair_row` is the row that
    writes its text.
    """

    def __init__(self, weights: Weights, context: Context, rules: Sequence[Rule], max_new_tokens: int) -> None:
        self.weights, self.examples = weights, context.examples
        self.plan = Plan(rules, weights.depth, max_new_tokens)
        self.result = Generations.empty(self.examples, len(rules), max_new_tokens)
        self.cache = KeyValueCache(weights, self.examples, max_new_tokens)
        self.layers = Layers(weights, context, max_new_tokens)
        self.head = partial(head, weights)
        self.ends = np.array(weights.tokens.ends)
        self.pair = np.arange(self.examples * len(rules))
        self.pair_row, self.pair_rule = np.divmod(self.pair, len(rules))
        self.pair_kept = np.zeros_like(self.pair_row)  # drafts kept since the full model's last token
        self.row_example = np.arange(self.examples)
        self.row_slot = np.arange(self.examples)
        self.row_token = np.full(self.examples, weights.tokens.start)

    @property
    def is_done(self) -> bool:
        return len(self.pair_row) == 0

    def step(self, step: int) -> None:
        """Write one more token of every text that has not ended."""
        self.cache.make_room(step)
        shape = self.weights.depth + 1, self.plan.authors, len(self.row_token)
        visits = Visits(step, self.head, self.weights.learned, shape)
        exit_layer, confidence = self._run_layers(visits)
        oracles = np.flatnonzero(self.plan.oracles[self.pair_rule])
        if len(oracles):
            exit_layer[oracles] = visits.earliest_agreeing_layers(self.pair_row[oracles])
        groups, group = self._grouped(visits, exit_layer)
        tokens, where = groups.token[group], self.pair * len(self.plan.thresholds) + step
        self.result.token_ids.reshape(-1)[where] = tokens
        self.result.exit_layers.reshape(-1)[where] = self._drafted(visits, tokens, exit_layer)
        self.result.confidences.reshape(-1)[where] = confidence
        self._go_on(visits, groups, group)

    def _run_layers(self, visits: Visits) -> tuple[Ints, Floats]:
        """Run layers until all pairs have left; where each pair left and how confident it was."""
        plan, rule, row = self.plan, self.pair_rule, self.pair_row
        exit_layer = np.zeros(len(rule), np.int64)
        confidence = np.full(len(rule), np.nan, np.float32)
        staying, running_on = np.arange(len(rule)), np.flatnonzero(plan.runs_on[rule])
        rows = self._rows(visits.step, np.arange(len(self.row_token)), self.row_token)
        state = embed(self.weights, rows.origin)
        for layer in range(1, self.weights.depth + 1):
            previous, state = state, self.layers.run(layer, state, rows)
            passed = LayerPass(layer, rows.number, state, previous, visits.step)
            visits.add(passed)
            rules = rule[staying]
            for index, measure in enumerate(plan.measures):
                if measure.remembers(layer):
                    users = staying[plan.measure[rules] == index]
                    visits.asking.show(measure, passed.only(_distinct(row[users], len(self.row_token))))
            asking = staying[plan.asks[layer - 1, rules]]
            if len(asking):
                passing, confidence[passing] = self._ask(asking, passed, visits)
                exit_layer[passing] = layer
            exit_layer[staying[plan.last[rules] == layer]] = layer
            staying = staying[exit_layer[staying] == 0]
            running = np.concatenate([staying, running_on])
            if not len(running):
                break
            going_on = _distinct(row[running], len(self.row_token))
            if len(going_on) < len(rows.number):
                rows = self._rows(visits.step, going_on, np.searchsorted(rows.number, going_on))
                state = state[rows.origin]
        return exit_layer, confidence

    def _rows(self, step: int, number: Ints, origin: Ints) -> Rows:
        slot, example = self.row_slot[number], self.row_example[number]
        return Rows.of(number, step, self.cache, slot, example, self.examples, origin)

    def _ask(self, pairs: Ints, passed: LayerPass, visits: Visits) -> tuple[Ints, Floats]:
        """Which of the asking pairs are confident enough to leave, and their confidences."""
        plan, rule, row = self.plan, self.pair_rule[pairs], self.pair_row[pairs]
        measure = plan.measure[rule]
        shape = len(plan.measures), len(self.row_token)
        asked, by_row = np.zeros(shape, np.bool_), np.empty(shape, np.float32)
        asked[measure, row] = True
        indices = np.flatnonzero(asked.any(1)).tolist()
        questions = [
            (plan.measures[index], passed.only(np.flatnonzero(asked[index])) if plan.choosy[index] else passed)
            for index in indices
        ]
        answers = visits.asking.ask_all(questions)
        for index, answer in zip(indices, answers, strict=True):
            by_row[index, answer.rows] = answer.confidence
        confidence = by_row[measure, row]
        passes = confidence >= plan.thresholds[visits.step][rule]
        for index, (asking, _), answer in zip(indices, questions, answers, strict=True):
            if (asking.needs_logits or asking.own_token) and passes[measure == index].any():
                visits.know_tokens(asking, index + 1 if asking.own_token else 0, answer)
        return pairs[passes], confidence[passes]

    def _grouped(self, visits: Visits, exit_layer: Ints) -> tuple[Groups, Ints]:
        """The groups in which the rules of each row leave it, and which of them each pair is in, (pairs,)."""
        plan, rule = self.plan, self.pair_rule
        shape = len(self.row_token), self.weights.depth + 1, len(KINDS), plan.authors
        author = np.where(exit_layer < plan.last[rule], plan.author[rule], 0)
        exits = ((self.pair_row * shape[1] + exit_layer) * shape[2] + plan.copying[rule]) * shape[3] + author
        exits, group = _numbered(exits, math.prod(shape))
        parent, layer, copying, author = np.unravel_index(exits, shape)
        state = visits.states(parent, layer)
        return Groups(parent, layer, copying, visits.tokens(parent, layer, author, state), state), group

    def _drafted(self, visits: Visits, tokens: Ints, exit_layer: Ints) -> Ints:
        """The exit layers, with the drafting layer where a speculative rule's draft was the token that it wrote."""
        if not self.plan.drafts.any():
            return exit_layer
        drafting, drafts = self.plan.drafting[self.pair_rule], self.plan.drafts[self.pair_rule]
        kept = np.zeros(len(tokens), np.bool_)
        for layer in np.unique(drafting[drafting > 0]):
            pairs = np.flatnonzero((drafting == layer) & (self.pair_kept < drafts))
            kept[pairs] = visits.predictions(self.pair_row[pairs], layer).cpu().numpy() == tokens[pairs]
        self.pair_kept = np.where(kept, self.pair_kept + 1, 0)
        return np.where(kept, drafting, exit_layer)

    def _go_on(self, visits: Visits, groups: Groups, group: Ints) -> None:
        """Drop what has ended, and make a row of each group that goes on, skipped layers filled."""
        goes_on = (groups.token[:, None] != self.ends).all(1)
        if not goes_on.all():
            ended = np.bincount(groups.parent[goes_on], minlength=len(self.row_slot)) == 0
            self.cache.release(self.row_slot[ended])
            groups, pairs = groups.only(goes_on), np.flatnonzero(goes_on[group])
            self.pair, self.pair_rule, self.pair_kept = self.pair[pairs], self.pair_rule[pairs], self.pair_kept[pairs]
            group = (np.cumsum(goes_on) - 1)[group[pairs]]
        slots = self.row_slot[groups.parent]
        again = np.flatnonzero(groups.parent[1:] == groups.parent[:-1]) + 1  # the first keeps its parent's slot
        if len(again):
            slots[again] = self.cache.copy(slots[again], visits.step + 1)
        self._copy_states(visits, groups, slots)
        self.row_example, self.row_slot, self.row_token = self.row_example[groups.parent], slots, groups.token
        self.pair_row = group

    def _copy_states(self, visits: Visits, groups: Groups, slots: Ints) -> None:
        """Give each group's skipped layers their keys and values (`state_copying.source`), layer by layer."""
        depth, step = self.weights.depth, visits.step
        for kind in np.flatnonzero(np.bincount(groups.copying)):
            if KINDS[kind] == "true_state":
                continue  # the rows ran on, so every layer has written its own
            left = np.argsort(groups.layer, kind="stable")  # so that those which skip a layer come first
            left = left[(groups.copying[left] == kind) & (groups.layer[left] < depth)]
            if not len(left):
                continue
            layer = groups.layer[left]
            number, into = self.cache.tensors(left, slots[left])
            match KINDS[kind]:
                case "exit_state":
                    state = normed(self.weights, groups.state[number])
                case "first_state":
                    state = normed(self.weights, visits.states(groups.parent[left], np.ones_like(left)))
                case "projected_kv":
                    copied = self.cache.read(layer, into, step)
            for above in range(layer[0] + 1, depth + 1):
                skip = int(np.searchsorted(layer, above))
                if KINDS[kind] != "projected_kv":
                    copied = keys_values(self.weights, above, state[:skip])
                self.cache.write(above, into[:skip], step, copied[:skip])


def _distinct(rows: Ints, count: int) -> Ints:
    """The distinct ones of row numbers below `count`, ascending; they are not empty."""
    return rows[:1] if count == 1 else np.flatnonzero(np.bincount(rows, minlength=count))


def _numbered(keys: Ints, count: int) -> tuple[Ints, Ints]:
    """The distinct ones of numbers below `count`, ascending, and which of them each key is."""
    number = np.zeros(count, np.int64)
    number[keys] = 1
    distinct = np.flatnonzero(number)
    number[distinct] = np.arange(len(distinct))
    return distinct, number[keys]
