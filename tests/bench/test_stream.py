"""The stream without an end and its measures: it never breaks, it fills the memory, and early and late are compared."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import SMALL
from tests.streaming.frames import cloud, listening_model, pose

from remembev import StreamingDetector, load_config
from remembev.bench.step import frames_to_fill
from remembev.bench.stream import SCENE, STEP, StreamCurve, endless_scene, measure_stream
from remembev.data import NuScenesIndex
from remembev.memory import TokenStore
from remembev.streaming import Moment, StreamState


@pytest.fixture
def index(sim_root: Path) -> NuScenesIndex:
    return NuScenesIndex.open(sim_root, "v1.0-sim")


def test_an_endless_scene_goes_to_and_fro_at_the_pace_of_its_key_frames(index: NuScenesIndex) -> None:
    detector = StreamingDetector(listening_model())
    frames = len(index.scene_frames(0))
    seen = list(islice(endless_scene(detector, index, 0), 3 * frames - 2))
    there = [index.load_frame(number).sample_token for number in index.scene_frames(0)]
    back = there[-2:0:-1]
    assert [frame.sample_token for frame, _ in seen] == [*there, *back, *there]
    for (frame, now), (following, then) in pairwise(seen):
        assert then - now == pytest.approx(abs(following.timestamp - frame.timestamp), abs=1e-6)
        assert then > now


def test_a_measured_stream_never_breaks_and_its_state_does_not_grow(
    index: NuScenesIndex, caplog: pytest.LogCaptureFixture
) -> None:
    detector = StreamingDetector(listening_model())
    curve = StreamCurve.collect(measure_stream(detector, index, 0, 20), 20)
    assert int(detector.state(SCENE).frames) == 20
    assert not caplog.records
    assert set(curve.steps["state_bytes"]) == {detector.state(SCENE).nbytes}
    tokens = detector.state(SCENE).memory.tokens
    assert curve.steps["tokens"].max() == tokens.capacity
    assert (curve.steps["resident_bytes"] > 50e6).all()
    assert (curve.steps["wall_s"] > 0).all()
    assert np.isnan(curve.steps["control_s"]).sum() == 2


def test_a_part_of_something_large_is_as_large_as_what_it_holds_on_to_and_counts_once() -> None:
    pose, large = torch.eye(4, dtype=torch.float64)[None], torch.zeros(1000, dtype=torch.float64)
    state = StreamState.start(Moment(pose, large[1:2]), Moment(pose, large[:1]))
    assert state.nbytes == 16 * 8 + 1000 * 8 + 8


def test_early_and_late_are_a_thousand_steps_each_of_ten_thousand_and_compared_by_their_medians() -> None:
    steps = np.zeros(10_000, dtype=STEP)
    steps["wall_s"], steps["cpu_s"], steps["resident_bytes"], steps["state_bytes"] = 9.0, 2.0, 100, 7
    steps["control_s"], steps["control_s"][9000:] = 2.0, 1.3
    steps["wall_s"][1000:2000], steps["wall_s"][9000:] = 1.0, 1.04
    steps["wall_s"][1500], steps["wall_s"][9500] = 50.0, 0.0
    steps["resident_bytes"][9000:] = 106
    compared = StreamCurve(steps).compare()
    assert list(compared) == ["wall_s", "cpu_s", "control_s", "resident_bytes", "state_bytes", "step_to_control"]
    assert (compared["wall_s"].early, compared["wall_s"].late) == (1.0, 1.04)
    assert [found.level for found in compared.values()] == [True, True, False, False, True, False]
    assert compared["step_to_control"].ratio == pytest.approx(1.04 / 0.65)
    assert compared["resident_bytes"].ratio == pytest.approx(1.06)


def test_a_curve_is_written_a_row_a_step(tmp_path: Path) -> None:
    StreamCurve.collect([(0.5, 0.25, 0.1, 100, 10, 4), (0.75, 0.5, 0.1, 200, 20, 8)], 2).write_csv(
        tmp_path / "stream.csv"
    )
    assert (tmp_path / "stream.csv").read_text().splitlines() == [
        "frame,wall_s,cpu_s,control_s,resident_bytes,state_bytes,tokens",
        "0,0.5,0.25,0.1,100,10,4",
        "1,0.75,0.5,0.1,200,20,8",
    ]


@pytest.mark.parametrize("every", ["1", "2", "1 s"])
def test_the_warm_up_of_the_benchmark_fills_the_memory(every: str) -> None:
    overrides = [f"MODEL.MEMORY.MEM_EVERY={every}"]
    detector = StreamingDetector(listening_model(*overrides))
    warmup = frames_to_fill(load_config("tiny", [*SMALL, *overrides]).MODEL.MEMORY, interval=0.5)
    fullest = 0
    for number in range(warmup):
        detector.step(cloud(number % 3), pose(number), 0.5 * number, "a")
        store: TokenStore = detector.state("a").memory.tokens
        fullest = max(fullest, int(store.count()))
    assert fullest == store.capacity
    assert store.valid[0, :24].all()
