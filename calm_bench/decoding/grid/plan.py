"""Rules as arrays: what the grid asks of which rule at which layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm_bench.decoding.rule import Rule
from calm_bench.decoding.state_copying import KINDS
from calm_bench.measures.measure import Measure


class Plan:
    """R rules laid out for a model of depth L and texts of at most T tokens.

    Attributes:
        last: the layer at which each rule leaves without asking, (R,).
        thresholds: the decayed threshold of each rule at each step, (T, R); infinite for rules without a measure.
        oracles: which rules are the oracle, (R,) bool.
        measures: the distinct measures in use. measure: each rule's index among them, (R,); -1 without one.
        choosy: which measures are asked of those rows alone that want to know; others are cheaper asked of all.
        asks: whether each rule asks its measure after layer i, at i - 1, (L, R) bool.
        copying: index of each rule's kind of state copying in `state_copying.KINDS`, (R,).
        author: who chooses the token of a rule that leaves early, (R,): 0 for whoever has the best of the vocabulary,
            m + 1 for measure m with a token of its own. authors: the numbers in use, from 0.
        runs_on: which rules want every layer run, wherever they leave, (R,) bool.
        drafting: the layer that drafts for each speculative rule, (R,); 0 for others.
        drafts: how many tokens it drafts, (R,).
    """

    def __init__(self, rules: Sequence[Rule], depth: int, max_new_tokens: int) -> None:
        for rule in rules:
            rule.check_layers(depth)
        self.last = np.array([rule.last_layer or depth for rule in rules])
        self.thresholds = np.array(
            [
                [rule.threshold_at(step, max_new_tokens) if rule.measure else np.inf for rule in rules]
                for step in range(max_new_tokens)
            ]
        )
        self.oracles: NDArray[np.bool_] = np.array([rule.is_oracle for rule in rules])
        self.copying = np.array([KINDS.index(rule.state_copying) for rule in rules])
        self.runs_on: NDArray[np.bool_] = np.array([rule.state_copying == "true_state" for rule in rules])
        self.drafting = np.array([rule.min_layer if rule.drafts else 0 for rule in rules])
        self.drafts = np.array([rule.drafts or 0 for rule in rules])
        self.measures: list[Measure] = list(dict.fromkeys(rule.measure for rule in rules if rule.measure is not None))
        self.measure = np.array([self.measures.index(rule.measure) if rule.measure else -1 for rule in rules])
        first = np.array([rule.min_layer if rule.measure else depth for rule in rules])
        layers = np.arange(1, depth + 1)[:, None]
        self.asks: NDArray[np.bool_] = (first <= layers) & (layers < self.last)
        self.choosy = [
            measure.needs_logits or any(measure.remembers(layer) for layer in range(1, depth + 1))
            for measure in self.measures
        ]
        owners = {measure: m + 1 for m, measure in enumerate(self.measures) if measure.own_token}
        self.author = np.array([owners.get(rule.measure, 0) if rule.measure else 0 for rule in rules])
        self.authors = int(self.author.max()) + 1
