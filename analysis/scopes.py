"""What a figure or table is made of: the whole, one group, or runs that differ in one value, side by side."""

from collections.abc import Callable

from analysis import naming
from analysis.load import Records

Parts = dict[str, Records]
"""Records by the label that stands in the file's name and in the title; no label where there is one part only."""
Scope = Callable[[Records], Parts]

QUESTIONS = ("classifier_training", "decay", "perturbation", "state_copying")
"""Experiments that ask one thing, answered in one figure or table; they are not drawn group by group."""


def everything(records: Records) -> Parts:
    """All runs at once."""
    return {"": records}


def ordinary(records: Records) -> Parts:
    """All runs but those of `QUESTIONS`, at once."""
    part = records.only(~records.runs["name"].isin(QUESTIONS))
    return {"": part} if len(part.runs) else {}


def groups(records: Records) -> Parts:
    """Each group, but those of `QUESTIONS`, unless there is one group only: a run's own folder."""
    if len(records.groups) == 1:
        return {records.groups[0]: records.of(records.groups[0])}
    return {group: part.of(group) for part in ordinary(records).values() for group in part.groups}


def probed(name: str) -> Scope:
    """Each group that was asked for the probe `name`."""

    def scope(records: Records) -> Parts:
        return {group: records.of(group) for group in dict.fromkeys(records.probe(name)["group"])}

    return scope


def asked(name: str) -> Scope:
    """The runs that were asked for the probe `name`, at once."""

    def scope(records: Records) -> Parts:
        part = records.only(records.runs["run_id"].isin(records.probe(name)["run_id"]))
        return {"": part} if len(part.runs) else {}

    return scope


def named(name: str) -> Scope:
    """The runs of an experiment, at once."""

    def scope(records: Records) -> Parts:
        part = records.only(records.runs["name"] == name)
        return {"": part} if len(part.runs) else {}

    return scope


def apart(name: str, key: str) -> Scope:
    """The runs of an experiment that differ in nothing but the config's `key`: such runs together, others apart.

    The label takes the place of the group in every frame.
    """

    def scope(records: Records) -> Parts:
        runs = records.only(records.runs["name"] == name).runs
        configs = [naming.settings(config, key) for config in runs["config"]]
        parts: Parts = {}
        for config, task in zip(configs, runs["task"], strict=True):
            alike = [other == config for other in configs]
            ids = runs.loc[alike, "run_id"]
            label = "-".join([name, task, *naming.words(config, configs[: alike.index(True)])])
            parts[label] = _labelled(records.only(records.runs["run_id"].isin(ids)), label)
        return parts

    return scope


def _labelled(part: Records, label: str) -> Records:
    return part.each_frame(lambda frame: frame.assign(group=label))
