"""DialogSum: summaries of conversations, up to three per conversation."""

from calm_bench.tasks.scitldr import SciTldr


class DialogSum(SciTldr):
    """Columns as SciTLDR. The trivial text is longer, as its authors have it."""

    lead = 3
