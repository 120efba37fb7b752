"""The house stands: no room's imports lead back to it, and what a floor must not know it does not import."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import calm_bench

ROOT = Path(calm_bench.__file__).parent.parent
# What each of these imports of ours at most, beside the files of the ground floor, which import nothing.
STANDS_ON = {
    "calm_bench.calibration": set[str](),
    "calm_bench.measures": set[str](),
    "calm_bench.cost": set[str](),
    "calm_bench.records": {"calm_bench.calibration", "calm_bench.config"},
    "calm_bench.models": {"calm_bench.config", "calm_bench.cost", "calm_bench.measures"},
    "calm_bench.decoding": {"calm_bench.measures", "calm_bench.models"},
    "analysis": {"calm_bench.calibration", "calm_bench.config", "calm_bench.cost", "calm_bench.records"},
}
GROUND = {
    f"calm_bench.{name}"
    for name in (
        "errors",
        "choices",
        "bootstrap",
        "processes",
        "following",
        "progress",
        "build",
        "captured",
        "console",
        "arguments",
        "starting",
    )
}
# Libraries that only these may import: a room, or a file at the top.
KEPT_TO = {
    "hydra": {
        f"calm_bench.{name}" for name in ("build", "compose", "refusal", "command", "new_promises", "sweep", "multirun")
    },
    "wandb": {"calm_bench.records", "calm_bench.command", "calm_bench.sweep", "analysis"},
}


def files() -> Iterator[tuple[str, ast.Module]]:
    for package in ("calm_bench", "analysis"):
        for file in sorted((ROOT / package).rglob("*.py")):
            yield room(".".join(file.relative_to(ROOT).with_suffix("").parts)), ast.parse(file.read_text())


def room(module: str) -> str:
    """calm_bench.ROOM, or the first name of anything else."""
    first, _, rest = module.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "calm_bench" and rest else first


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            at_top = node.module == "calm_bench"
            yield from (f"calm_bench.{name.name}" for name in node.names) if at_top else [node.module]
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.fixture(scope="module")
def rooms() -> dict[str, set[str]]:
    """What each room imports: our rooms, and other libraries by their first name."""
    imports: dict[str, set[str]] = {}
    for name, tree in files():
        if name != "calm_bench.__init__":  # which names everything, and imports it when it is used
            imports.setdefault(name, set()).update({room(module) for module in imported(tree)} - {name})
    return imports


def test_no_room_imports_itself_by_way_of_others(rooms: dict[str, set[str]]) -> None:
    ours = {name: {other for other in others if other in rooms} for name, others in rooms.items()}
    order = list(TopologicalSorter(ours).static_order())  # raises CycleError, which names the circle
    assert order.index("calm_bench.measures") < order.index("calm_bench.decoding") < order.index("calm_bench.stages")


@pytest.mark.parametrize("name", STANDS_ON)
def test_a_floor_imports_nothing_from_above(rooms: dict[str, set[str]], name: str) -> None:
    assert {other for other in rooms[name] if other in rooms} <= STANDS_ON[name] | GROUND


@pytest.mark.parametrize("library", KEPT_TO)
def test_a_library_is_kept_to_its_rooms(rooms: dict[str, set[str]], library: str) -> None:
    assert {name for name, others in rooms.items() if library in others} <= KEPT_TO[library]


@pytest.mark.parametrize("name", ["calm_bench.calibration", "analysis"])
def test_promises_and_figures_need_no_torch(rooms: dict[str, set[str]], name: str) -> None:
    assert not {"torch", "transformers"} & rooms[name]
