"""What the page's explorer needs of the generations, packed small: 500 examples x 20 rules in a few megabytes."""

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from analysis import rules, style
from analysis.load import Records

MAX_BYTES = 13_000_000
"""Of JSON in a page, over all groups: the page stays under 15 MB."""
MAX_RULES = 20
LONGEST_SOURCE = 4000

# A layer or a rounded percentage is one letter, counted from here: none that JSON or HTML escapes.
FIRST_LETTER = 0x100
NONE = "-"

Rule = tuple[str, float | None]
Key = tuple[str, str, float]
FULL: Rule = ("full", None)


def payload(part: Records, group: str, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The explorer's data for one group.

    Keys: group, similarity (of the losses), layers (L), colours (L pairs of background and text), rules (name, label
    and speedup with its interval, or null), start (the rule to show first), full (the full model's place in rules, or
    null), pieces (the distinct token texts, or null where the records carry none), examples, n (examples in the
    records). An example has id, source, references, texts (distinct generations, as lists of places in `pieces`, or
    plain text) and rules: per rule null or [place in texts, exit layers, confidences, D, score, ΔR or null]. Examples
    that would take the JSON beyond `most_bytes` are left out, so there may be fewer than n.
    """
    chosen = rules.shown(part.certificates, part.frontier, MAX_RULES)
    layers = int(part.runs["layers"].max())
    generations = _of(part.generations, chosen)
    tokens = _tokens(_of(part.tokens, chosen))
    vocabulary: dict[str, int] | None = {}
    if not tokens or any(pieces is None for _, _, pieces in tokens.values()):
        vocabulary = None
    examples: list[dict[str, Any]] = []
    size = 0
    everything = generations.groupby("example_id", sort=False)
    for example_id, rows in everything:
        example = _example(str(example_id), rows, chosen, tokens, vocabulary)
        size += len(htmlsafe_json_dumps(example, ensure_ascii=False, separators=(",", ":")).encode())
        if size > most_bytes:
            break
        examples.append(example)
    return {
        "group": group,
        "similarity": str(part.runs["similarity"].iloc[0]),
        "layers": layers,
        "colours": style.layer_colours(layers),
        "rules": [
            {"name": _name(rule), "label": _label(rule, part), "speedup": _speedup(part.frontier, rule)}
            for rule in chosen
        ],
        "start": _start(part, chosen),
        "full": chosen.index(FULL) if FULL in chosen else None,
        "pieces": None if vocabulary is None else list(vocabulary),
        "examples": examples,
        "n": len(everything),
    }


def link(explored: dict[str, Any], measure: str, threshold: float | None) -> str | None:
    """The address of a rule's texts within the page, or None where the payload holds none."""
    name = _name((measure, threshold))
    if not explored["examples"] or all(rule["name"] != name for rule in explored["rules"]):
        return None
    return f"#text/{quote(explored['group'], safe='')}/{quote(name, safe='')}"


def _example(
    example_id: str,
    rows: pd.DataFrame,
    chosen: list[Rule],
    tokens: dict[Key, tuple[str, str, list[str] | None]],
    vocabulary: dict[str, int] | None,
) -> dict[str, Any]:
    full = rows.loc[rows["measure"] == "full", "score"]
    texts: dict[str, int] = {}
    packed: list[Any] = []
    drawn: dict[Rule, list[Any]] = {}
    for row in rows.itertuples():
        key = (example_id, str(row.measure), float(str(row.threshold)))
        layers, confidences, pieces = tokens.get(key, ("", "", None))
        text: Any = str(row.prediction)
        if vocabulary is not None:
            text = [vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces or []]
        place = texts.setdefault(json.dumps(text), len(texts))
        if place == len(packed):
            packed.append(text)
        lost = _short(float(full.iloc[0]) - float(str(row.score))) if len(full) else None
        drawn[_rule(key)] = [place, layers, confidences, _short(row.textual_loss), _short(row.score), lost]
    first = rows.iloc[0]
    source = str(first["source"])
    return {
        "id": example_id,
        "source": source if len(source) <= LONGEST_SOURCE else source[:LONGEST_SOURCE] + " [...]",
        "references": [str(text) for text in first["reference"]],
        "texts": packed,
        "rules": [drawn.get(rule) for rule in chosen],
    }


def _tokens(frame: pd.DataFrame) -> dict[Key, tuple[str, str, list[str] | None]]:
    """Exit layers, confidences and token texts of every generation, by example, measure and threshold."""
    frame = frame.sort_values(["example_id", "measure", "threshold", "position"], kind="stable")
    keys = _keys(frame)
    starts = [place for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
    layers = "".join(map(chr, frame["exit_layer"].to_numpy(int) + FIRST_LETTER))
    percent = (frame["confidence"].astype(float) * 100).round()
    confidences = "".join(NONE if np.isnan(value) else chr(int(value) + FIRST_LETTER) for value in percent)
    pieces = frame["piece"].tolist() if "piece" in frame and frame["piece"].notna().all() else None
    return {
        keys[start]: (layers[start:end], confidences[start:end], None if pieces is None else pieces[start:end])
        for start, end in zip(starts, [*starts, len(keys)][1:], strict=True)
    }


def _of(frame: pd.DataFrame, chosen: list[Rule]) -> pd.DataFrame:
    """The rows of the chosen rules, with -1 for the threshold of a rule that has none."""
    rows = [(measure, -1.0 if threshold is None else threshold) for measure, threshold in chosen]
    wanted = pd.DataFrame(rows, columns=["measure", "threshold"])
    return frame.fillna({"threshold": -1.0}).merge(wanted, on=["measure", "threshold"])


def _keys(frame: pd.DataFrame) -> list[Key]:
    return list(zip(frame["example_id"], frame["measure"], frame["threshold"], strict=True))


def _short(value: object) -> float:
    return round(float(str(value)), 3)


def _rule(key: Key) -> Rule:
    return key[1], None if key[2] < 0 else key[2]


def _start(part: Records, chosen: list[Rule]) -> int:
    standing = rules.representative(rules.own(part.certificates), part.frontier).items()
    return next((chosen.index(rule) for rule in standing if rule in chosen), 0)


def _name(rule: Rule) -> str:
    measure, threshold = rule
    return measure if threshold is None else f"{measure}@{threshold}"  # in full: two thresholds never share a name


def _label(rule: Rule, part: Records) -> str:
    measure, threshold = rule
    if threshold is None:
        return {"full": "full model", "oracle": "oracle"}.get(measure, measure)
    if measure == "static":
        return f"static, layer {threshold:g}"
    own = rules.own(part.certificates)
    own = own[own["trial"].isna() & (own["measure"] == measure) & (own["threshold"] == threshold)]
    promised = "; ".join(f"{row.objective} δ = {row.delta:g}" for row in own.itertuples())
    return f"{measure}, λ = {threshold:g}" + (f" (certified: {promised})" if promised else "")


def _speedup(frontier: pd.DataFrame, rule: Rule) -> list[float | None] | None:
    measure, threshold = rule
    rows = frontier[(frontier["measure"] == measure) & frontier["speedup"].notna()]
    rows = rows[rows["threshold"].isna() if threshold is None else rows["threshold"] == threshold]
    if not len(rows):
        return None
    bounds = [float(value) for value in rows[["speedup", "speedup_low", "speedup_high"]].iloc[0]]
    return [None if np.isnan(value) else round(value, 2) for value in bounds]
