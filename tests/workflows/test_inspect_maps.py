"""Maps in the inspector: drawn by the scan's ensemble when they are asked for."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from workflows.cli import app
from workflows.inspector import Wanted, open_session


def test_a_saliency_map_is_drawn_on_demand_by_the_scans_ensemble(project: Path) -> None:
    arguments = ["scan", str(project / "scan.toml"), "--cluster", "serial", "--fields", "F0,F1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    wanted = Wanted(str(project / "out put"), grades=str(project / "grades"), scan=str(project / "scan.toml"))
    with ExitStack() as closing:
        gallery = open_session(wanted, closing).gallery
        drawn = gallery.map(0, "saliency")
        assert drawn is not None
        layer = np.asarray(Image.open(io.BytesIO(drawn)))
        stamp = gallery.stamp(0)
        assert stamp is not None
        assert layer.shape == (*stamp.image.shape[-2:], 4)
        assert layer[..., 3].max() > layer[..., 3].min(), "see-through where the network does not look"
        assert gallery.map(0, "saliency") is drawn, "kept"
        assert gallery.map(0, "lens_light") is None, "the ensemble has no map package"
