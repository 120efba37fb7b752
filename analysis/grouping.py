"""Which runs share a figure, and what such a group is called."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from analysis import naming
from analysis.folders import Finished


@dataclass
class _Group:
    """Runs of one experiment, task and config: measures run one by one, and the same again under other seeds."""

    runs: list[Finished]

    def takes(self, run: Finished) -> bool:
        """Whether `run` is of this setup, and repeats none of it with another model or another choice of measures."""
        first = self.runs[0]
        if (run.experiment, run.settings) != (first.experiment, first.settings):
            return False
        return all(
            run.model_identity == one.model_identity
            and (run.measures.isdisjoint(one.measures) or run.measures >= one.measures)
            for one in self.runs
            if one.draw == run.draw
        )

    def about(self, timed: bool) -> dict[str, object]:
        """What may tell it from other groups, in its first run: the config, where it was `timed`, measures, weights."""
        first = self.runs[0]
        on = {"timed on": first.card.removeprefix("NVIDIA ") or "cpu"} if timed else {}
        measures = "-".join(sorted(first.measures))
        return {**first.settings, **on, "measures": measures, "weights": [first.model_identity]}


def group(runs: Iterable[Finished]) -> tuple[list[Finished], list[str]]:
    """Name each run's group; an older repeat of a config whose measures a later run has too is left out, with a note.

    Runs of one experiment and task with one config share a group, whatever their seeds, and so do disjoint measures.
    Any other difference separates. The oldest group of an experiment is called by it and its task; a later one also by
    what tells it from those before it, so that no name changes when another run appears.

    runs: oldest first.
    """
    notes: list[str] = []
    groups: list[_Group] = []
    for run in runs:
        own = next((one for one in groups if one.takes(run)), None)
        if own is None:
            groups.append(_Group([run]))
            continue
        for one in [one for one in own.runs if one.draw == run.draw and one.measures & run.measures]:
            own.runs.remove(one)
            notes.append(f"left out {one.run_id}: {run.run_id} is a later run of the same config")
        own.runs.append(run)
    named: list[Finished] = []
    for experiment in dict.fromkeys(one.runs[0].experiment for one in groups):
        rivals = [one for one in groups if one.runs[0].experiment == experiment]
        labels = []
        for place, rival in enumerate(rivals):
            timed = all(one.runs[0].timed for one in rivals[: place + 1])
            said = naming.words(rival.about(timed), [earlier.about(timed) for earlier in rivals[:place]])
            labels.append("-".join([experiment, *said]))
            named += [replace(run, group=labels[-1]) for run in rival.runs]
        if len(rivals) > 1:
            notes.append(f"{experiment}: {len(rivals)} different configs are kept apart: {', '.join(sorted(labels))}")
    return named, notes
