"""Exported files, each made once a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from filelock import FileLock
from tests.export.streams import drawn_model
from torch._inductor import config as inductor
from typer.testing import CliRunner

from remembev.cli import app
from remembev.models import save_checkpoint

logging.getLogger("torch.__trace").propagate = False  # of every step of torch's, which pytest would keep

QUICK = {"cpp.simdlen": 0, "aot_inductor.compile_wrapper_opt_level": "O0"}

Export = Callable[[str, Literal["onnx", "aoti"]], tuple[Path, Path]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Export:
    """Checkpoint and exported file of a memory in a format."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def make(memory: str, form: Literal["onnx", "aoti"]) -> tuple[Path, Path]:
        checkpoint = shared / f"{form}-{memory}.safetensors"
        out = checkpoint.with_suffix({"onnx": ".onnx", "aoti": ".pt2"}[form])
        # Compiled without vectors and optimisation: quicker, and as right.
        with FileLock(f"{out}.lock"), inductor.patch(QUICK):
            if not out.exists():
                save_checkpoint(checkpoint, drawn_model(memory))
                done = CliRunner().invoke(app, ["export", str(checkpoint), "--format", form, "--out", str(out)])
                assert done.exit_code == 0, done.exception
        return checkpoint, out

    return make
