"""Layers saved against seconds saved: what early exiting is worth on this machine."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import style
from analysis.load import Records
from analysis.output import Drawn, Output
from analysis.pooling import over_seeds
from calm_bench import bootstrap
from calm_bench.errors import InputError


def savings(timings: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Layers and decoder seconds per token saved by each timed arm, relative to the full model of the same run.

    timings: rows of timings.parquet; arms other than a rule's (Hugging Face generate(), whole grids) are left out.
    Returns one row per run and rule, with measure, threshold, layers_saved, seconds_saved and its 95% bootstrap
    interval over texts, seconds_saved_low and seconds_saved_high, all as shares of the full model's. Encoder time is
    left out on both sides: no exit can save it.

    Raises:
        InputError: no timing of the full model.
    """
    ours = timings[timings["arm"] == "rule"]
    decoder = ours.assign(decoder=ours["seconds"] - ours["encoder_seconds"].fillna(0.0))
    keys = ["run_id", "rule", "measure", "threshold", "example"]
    per_text = decoder.groupby(keys, dropna=False, as_index=False).agg(
        decoder=("decoder", "median"), n_tokens=("n_tokens", "first"), mean_exit_layer=("mean_exit_layer", "mean")
    )
    rows = []
    for run_id, run in per_text.groupby("run_id"):
        full = run[run["measure"] == "full"].set_index("example")
        for (rule, measure, threshold), texts in run[run["threshold"].notna()].groupby(
            ["rule", "measure", "threshold"]
        ):
            own = texts.set_index("example")
            both = own.index.intersection(full.index)
            if len(both):
                saved = _saved(own.loc[both], full.loc[both], resamples, seed)
                rows.append({"run_id": run_id, "rule": rule, "measure": measure, "threshold": threshold, **saved})
    if not rows:
        raise InputError("no timing of the full model beside another rule in timings.parquet")
    return pd.DataFrame(rows)


def seconds_saved(timings: pd.DataFrame) -> Figure:
    """Share of decoder seconds per token saved against share of decoder layers saved, with the ideal line.

    timings: rows of timings.parquet. On the ideal line a skipped layer saves its whole share of the time; below it,
    the measure, the output head and the loop keep some of it.

    Raises:
        InputError: no timing of the full model.
    """
    return _figure(timings, savings(timings))


def _figure(timings: pd.DataFrame, saved: pd.DataFrame, hardware: str = "") -> Figure:
    points = over_seeds(saved, ["measure", "threshold"], of=["layers_saved", "seconds_saved"])
    texts = timings.loc[timings["arm"] == "rule", "example"].nunique()
    with style.context():
        fig, axes = style.figure(height=2.9)
        ax = axes[0, 0]
        for measure in style.ordered(points["measure"]):
            rows = points[points["measure"] == measure].sort_values("layers_saved")
            colour, marker = style.look(measure)
            middle = rows["seconds_saved"].to_numpy()
            errors = np.clip(
                [middle - rows["seconds_saved_low"].to_numpy(), rows["seconds_saved_high"].to_numpy() - middle], 0, None
            )
            ax.errorbar(
                rows["layers_saved"],
                middle,
                yerr=errors,
                fmt=marker,
                linestyle="--" if measure == "static" else "none",
                color=colour,
                elinewidth=0.8,
                label=measure,
            )
        ax.plot([0, 1], [0, 1], color=style.INK, linewidth=0.8, label="ideal", zorder=1)
        ax.axhline(0, color=style.INK, linewidth=0.5)
        ax.set_xlim(0, 1)
        ax.set_ylim(min(-0.05, float(points["seconds_saved_low"].min()) * 1.1), 1)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_xlabel("decoder layers saved per token")
        ax.set_ylabel("decoder seconds saved per token")
        ax.set_title(style.caption(timings, f"n = {texts} texts", hardware, "bars: 95%"))
        style.legend(fig, ax)
    return fig


def _saved(texts: pd.DataFrame, full: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    drawn_times = bootstrap.times(len(texts), seed, resamples)

    def per_token(frame: pd.DataFrame) -> np.ndarray:
        """The seconds that all texts take, and those of each draw."""
        seconds, count = (frame[column].to_numpy(np.float64) for column in ("decoder", "n_tokens"))
        return np.append(seconds.sum() / count.sum(), (drawn_times @ seconds) / (drawn_times @ count))

    saved, *drawn = 1 - per_token(texts) / per_token(full)
    low, high = np.quantile(drawn, [0.025, 0.975])
    layers = [np.average(frame["mean_exit_layer"], weights=frame["n_tokens"]) for frame in (texts, full)]
    return {
        "layers_saved": float(1 - layers[0] / layers[1]),
        "seconds_saved": float(saved),
        "seconds_saved_low": float(low),
        "seconds_saved_high": float(high),
    }


def _of(part: Records) -> Drawn:
    saved = savings(part.timings)
    return Drawn(_figure(part.timings, saved, part.timed_on), saved)


OUTPUTS = (Output("seconds-saved", "Layers saved against seconds saved", "", _of),)
