"""What the rules of a record are, for people: a measure and a threshold beside the number that every table has."""

import numpy as np
import pandas as pd


def named(frame: pd.DataFrame, rules: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the columns measure and threshold after `rule`, whose meaning `rules` (the table) has.

    measure is the confidence measure, or full, oracle or static; what `frame` says of it stays.
    threshold is λ, the layer for static, and NaN for full and oracle.
    """
    by_number = rules.set_index("rule")
    static = by_number["kind"] == "static"
    threshold = by_number["threshold"].where(~static, by_number["last_layer"]).astype(np.float64)
    measure = by_number["measure"].fillna(by_number["kind"])
    found = {"measure": measure, "threshold": threshold}
    columns = {name: frame["rule"].map(values) for name, values in found.items()}
    columns = {name: frame[name].fillna(values) if name in frame else values for name, values in columns.items()}
    rest = frame.drop(columns=[name for name in columns if name in frame])
    place = list(rest.columns).index("rule") + 1
    return pd.concat([rest.iloc[:, :place], pd.DataFrame(columns, frame.index), rest.iloc[:, place:]], axis=1)
