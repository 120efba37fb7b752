"""A figure of your own: how long the sources and the targets are."""

from matplotlib.figure import Figure

from analysis import Output, Records, style


def lengths(records: Records) -> Figure:
    """A histogram of the tokens of all sources and all targets."""
    with style.context():
        figure, axes = style.figure()
        for column in ("n_source_tokens", "n_target_tokens"):
            axes[0, 0].hist(records.examples[column], bins=20, histtype="step", label=column)
        axes[0, 0].set_xlabel("tokens")
        axes[0, 0].set_ylabel("examples")
        axes[0, 0].set_title(style.caption(records.examples))
        style.legend(figure, axes[0, 0])
    return figure


OUTPUTS = (Output("lengths", "Lengths of sources and targets", "", lengths),)
