"""The wheel, installed without network, works from any folder; the pins fit what is asked for."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet")
    _run(*pip, "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds the wheel and sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", python)
    _run(*pip, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    # Only now, or pip would meet the checkout's own installation. What a .pth file adds is searched last, and the .pth
    # files that stand there are not followed, so the checkout itself stays out of sight.
    here = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(here, "libraries.pth").write_text("\n".join(sorted(libraries)))
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_holds_what_a_run_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    metadata = f"calm_bench-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"calm_bench", "analysis", metadata}
    places = {"calm_bench": "calm_bench", "analysis": "analysis"}
    for source, target in {**places, "conf": "calm_bench/conf", "sweeps": "calm_bench/sweeps"}.items():
        for path in (ROOT / source).rglob("*"):
            if ROOT / "analysis" / "reference" in path.parents:
                assert f"analysis/{path.relative_to(ROOT / source)}" not in names  # the reference records: 5 MB
            elif path.suffix in (".yaml", ".py", ".parquet", ".safetensors", ".csv", ".j2"):
                assert f"{target}/{path.relative_to(ROOT / source).as_posix()}" in names
    assert f"{metadata}/licenses/LICENSE" in names


@pytest.mark.slow
def test_the_installed_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    origin = _run(installed / "python", "-c", "import calm_bench; print(calm_bench.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(installed.parent)
    for group in ("task", "model", "measure"):
        assert group in _run(installed / "calm-bench", "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_installed_command_composes_the_demo(installed: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(_run(installed / "calm-bench", "--cfg", "job", cwd=tmp_path))
    assert config["threshold"]["grid"][0] == 0.999
    assert config["calibration"]["epsilon"] == 0.05
    assert list(tmp_path.iterdir()) == []


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(pins) > 30
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for line in PROJECT["dependencies"] + extras:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            continue  # an extra that takes in another one
        assert requirement.name in pins, f"constraints.txt: no version for {requirement.name}"
        assert pins[requirement.name] in requirement.specifier, f"constraints.txt: {requirement.name} outside {line}"
