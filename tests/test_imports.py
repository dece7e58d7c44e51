"""The import law: which layer may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORDS = {
    "schema",
    "schema_lenses",
    "flags",
    "errors",
    "config",
    "scan_config",
    "field",
    "notes",
    "geometry",
    "provenance",
    "splits",
}
MAY_IMPORT = {
    "words": {"words"},
    "io": {"words", "io"},
    "surveys": {"words", "io", "surveys"},
    "models": {"words", "models"},
    "scan": {"words", "models", "scan"},
    "catalogue": {"words", "io", "catalogue"},
    "evaluate": {"words", "io", "models", "scan", "catalogue", "evaluate"},
    "sims": {"words", "io", "models", "scan", "sims"},
    "train": {"words", "io", "models", "scan", "evaluate", "train"},
    "lensfit": {"words", "io", "models", "catalogue", "sims", "lensfit"},
    "inspector": {"words", "io", "catalogue", "inspector"},
    "workflows": {
        "words",
        "io",
        "surveys",
        "models",
        "scan",
        "catalogue",
        "evaluate",
        "sims",
        "train",
        "lensfit",
        "inspector",
        "workflows",
    },
}
ONLY_IN_WORKFLOWS = {"dask", "distributed", "typer", "click", "rich"}


def _modules() -> list[Path]:
    return sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("workflows/**/*.py")])


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _layer(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "workflows":
        return "workflows"
    if parts[0] != "pipeline" or len(parts) == 1:
        return None
    return "words" if parts[1] in WORDS else parts[1]


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer = _layer(_module_name(path))
    if layer is None:
        return
    assert layer in MAY_IMPORT, f"{path} is in a layer that the import law does not know"
    for name in _imports(path):
        target = _layer(name)
        if target is not None and (target in MAY_IMPORT or target == "words"):
            assert target in MAY_IMPORT[layer], f"{layer} must not import {name}"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_workflows_know_dask_and_the_command_line(path: Path) -> None:
    if path.is_relative_to(ROOT / "workflows"):
        return
    tops = {name.split(".")[0] for name in _imports(path)}
    assert not tops & ONLY_IN_WORKFLOWS


def test_scan_opens_nothing() -> None:
    for path in ROOT.glob("pipeline/scan/*.py"):
        tree = ast.parse(path.read_text())
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "open" not in calls, f"{path} opens a file"
        assert not {name.split(".")[0] for name in _imports(path)} & {"zarr", "fsspec"}
        assert not any(name.startswith("astropy.io") for name in _imports(path))


@pytest.mark.parametrize("statement", ["import pipeline.catalogue.query", "import workflows.catalogue"])
def test_querying_imports_neither_torch_nor_dask(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in ('torch', 'dask', 'distributed', 'zarr') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_whoever_submits_a_scan_loads_neither_networks_nor_what_reads_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"")
    (tmp_path / "survey.toml").write_text(
        'name = "s"\nrelease = "1"\nzero_point = [{ magnitude = "22.5 mag" }]\n[bands]\nVIS = "VIS"\n'
        '[planes.image]\npath = "{field_id}.fits"\n'
    )
    (tmp_path / "scan.toml").write_text(
        'scan_id = "s"\nsurvey = "survey.toml"\nensemble = "space"\noutput = "out"\nbands = ["VIS"]\n'
    )
    heavy = ("torch", "scipy.stats", "sep", "zarr", "pandas", "pyarrow.dataset", "pipeline.scan", "workflows.tasks")
    code = (
        "import sys, workflows.cli, workflows.run, workflows.texts, workflows.cluster, workflows.setup\n"
        f"setup = workflows.setup.open_scan({str(tmp_path / 'scan.toml')!r})\n"
        "assert len(setup.plan('cpu')) == 1 and setup.job().ensemble_key\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_is_imported_where_it_runs_is_there() -> None:
    names = [
        node.args[0].value
        for path in ROOT.glob("workflows/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Deferred"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert len(names) >= 6
    for name in names:
        module, _, function = str(name).partition(":")
        assert callable(getattr(import_module(module), function)), name


def test_no_module_is_called_utils() -> None:
    assert not [path for path in _modules() if path.stem in {"utils", "helpers", "common", "misc"}]
