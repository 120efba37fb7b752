"""What the page's explorer needs of the generations, packed small: 500 examples x 20 rules in a few megabytes."""

import json
from collections.abc import Hashable
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
Row = dict[Hashable, Any]
Key = tuple[int, str, int]
"""A text: its example, the run and the rule."""

# A layer or a rounded percentage is one letter, counted from here: none that JSON or HTML escapes.
FIRST_LETTER = 0x100
NONE = "-"

BLOCK = 128  # examples read at once


def payload(part: Records, group: str, most_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The explorer's data for one group.

    Keys: group, similarity (of the losses), layers (L), colours (L pairs of background and text), rules (name, label
    and speedup with its interval, or null), start (the rule to show first), full (the full model's place in rules, or
    null), pieces (the distinct token texts, or null where the records carry none), examples, n (examples in the
    records). An example has id, source, references, texts (distinct generations, as lists of places in `pieces`, or
    plain text) and rules: per rule null or [place in texts, exit layers, confidences, D, score, ΔR or null]. Examples
    that would take the JSON beyond `most_bytes` are left out, so there may be fewer than n.
    """
    chosen = rules.shown(part, MAX_RULES)
    names = [_name(*rule) for rule in chosen[["measure", "threshold"]].itertuples(index=False, name=None)]
    layers = int(part.runs["layers"].max())
    # Runs of one group have the same examples.
    described = part.examples.drop_duplicates("example").sort_values("example").to_dict("records")
    if not all(run.has("tokens") for run in part.stored.values()):  # nor has it texts: see analysis/compact.py
        described = []
    vocabulary: dict[str, int] = {}
    examples: list[dict[str, Any]] = []
    size, has_pieces = 0, True
    for start in range(0, len(described), BLOCK):
        block = described[start : start + BLOCK]
        numbers = [int(about["example"]) for about in block]
        tokens = part.tokens(chosen, numbers)
        has_pieces = has_pieces and len(tokens) > 0 and bool(tokens["piece"].notna().all())
        packed = _tokens(tokens, has_pieces)
        texts = {key: rows.to_dict("records") for key, rows in part.generations(chosen, numbers).groupby("example")}
        for about in block:
            example = _example(about, texts[about["example"]], chosen, packed, vocabulary if has_pieces else None)
            size += len(htmlsafe_json_dumps(example, ensure_ascii=False, separators=(",", ":")).encode())
            if size > most_bytes:
                break
            examples.append(example)
        if size > most_bytes:
            break
    return {
        "group": group,
        "similarity": str(part.runs["similarity"].iloc[0]),
        "layers": layers,
        "colours": style.layer_colours(layers),
        "rules": [
            {"name": name, "label": _label(rule, part), "speedup": _speedup(part, rule)}
            for name, rule in zip(names, chosen.to_dict("records"), strict=True)
        ],
        "start": _start(part, chosen),
        "full": names.index("full") if "full" in names else None,
        "pieces": list(vocabulary) if has_pieces and examples else None,
        "examples": examples,
        "n": len(described),
    }


def link(explored: dict[str, Any], measure: str, threshold: float | None) -> str | None:
    """The address of a rule's texts within the page, or None where the payload holds none."""
    name = _name(measure, threshold)
    if not explored["examples"] or all(rule["name"] != name for rule in explored["rules"]):
        return None
    return f"#text/{quote(explored['group'], safe='')}/{quote(name, safe='')}"


def _example(
    about: Row,
    rows: list[Row],
    chosen: pd.DataFrame,
    tokens: dict[Key, tuple[str, str, list[str] | None]],
    vocabulary: dict[str, int] | None,
) -> dict[str, Any]:
    full = [row["score"] for row in rows if row["measure"] == "full"]
    texts: dict[str, int] = {}
    packed: list[Any] = []
    drawn: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        layers, confidences, pieces = tokens.get((row["example"], row["run_id"], row["rule"]), ("", "", None))
        text: Any = str(row["prediction"])
        if vocabulary is not None:
            text = [vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces or []]
        index = texts.setdefault(json.dumps(text), len(texts))
        if index == len(packed):
            packed.append(text)
        lost = _short(full[0] - row["score"]) if full else None
        losses = (_short(row["textual_loss"]), _short(row["score"]), lost)
        drawn[row["run_id"], row["rule"]] = [index, layers, confidences, *losses]
    source = str(about["source"])
    return {
        "id": str(about["example_id"]),
        "source": source if len(source) <= LONGEST_SOURCE else source[:LONGEST_SOURCE] + " [...]",
        "references": [str(text) for text in about["references"]],
        "texts": packed,
        "rules": [drawn.get(rule) for rule in chosen[["run_id", "rule"]].itertuples(index=False, name=None)],
    }


def _tokens(frame: pd.DataFrame, has_pieces: bool) -> dict[Key, tuple[str, str, list[str] | None]]:
    """Exit layers, confidences and token texts of every generation, by example, run and rule."""
    names = ["example", "run_id", "rule"]
    frame = frame.sort_values([*names, "position"], kind="stable")
    keys = list(frame[names].itertuples(index=False, name=None))
    starts = [place for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
    layers = "".join(map(chr, frame["exit_layer"].to_numpy(int) + FIRST_LETTER))
    percent = (frame["confidence"].astype(float) * 100).round()
    confidences = "".join(NONE if np.isnan(value) else chr(int(value) + FIRST_LETTER) for value in percent)
    pieces = frame["piece"].tolist() if has_pieces else None
    return {
        keys[start]: (layers[start:end], confidences[start:end], None if pieces is None else pieces[start:end])
        for start, end in zip(starts, [*starts, len(keys)][1:], strict=True)
    }


def _short(value: object) -> float:
    return round(float(str(value)), 3)


def _start(part: Records, chosen: pd.DataFrame) -> int:
    keys = list(chosen[["run_id", "rule"]].itertuples(index=False, name=None))
    standing = rules.representative(part)[["run_id", "rule"]].itertuples(index=False, name=None)
    return next((keys.index(rule) for rule in standing if rule in keys), 0)


def _name(measure: str, threshold: float | None) -> str:
    if threshold is None or np.isnan(threshold):
        return measure
    return f"{measure}@{threshold}"  # in full: two thresholds never share a name


def _label(rule: Row, part: Records) -> str:
    if rule["kind"] != "adaptive":
        static = f"static, layer {rule['last_layer']}"
        return {"full": "full model", "static": static}.get(rule["kind"], str(rule["kind"]))
    own = rules.own(part.certificates)
    own = own[own["trial"].isna() & (own["run_id"] == rule["run_id"]) & (own["rule"] == rule["rule"])]
    promised = "; ".join(f"{row.objective} δ = {row.delta:g}" for row in own.itertuples())
    return f"{rule['measure']}, λ = {rule['threshold']:g}" + (f" (certified: {promised})" if promised else "")


def _speedup(part: Records, rule: Row) -> list[float | None] | None:
    rows = part.frontier[(part.frontier["run_id"] == rule["run_id"]) & (part.frontier["rule"] == rule["rule"])]
    rows = rows[rows["speedup"].notna()]
    if not len(rows):
        return None
    bounds = [float(value) for value in rows[["speedup", "speedup_low", "speedup_high"]].iloc[0]]
    return [None if np.isnan(value) else round(value, 2) for value in bounds]
