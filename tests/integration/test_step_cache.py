"""Step caches from the command line: exact where nothing may be left out, told where something was."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("small_tiny")
METHODS = {
    "teacache": (),
    "magcache": ("--execution.step-cache-ratio-list", "1.0", "1.0", "1.0"),
    "first_block": (),
}
STEPS = ("--steps", "5", "--format", "latent")
OF_COGVIDEOX = (*STEPS, "--guidance-scale", "3")
OF_FRAMEPACK = (*STEPS, "--video-sections", "2", "--latent-window-size", "2")


def latents(run: Path) -> bytes:
    (file,) = run.glob("clip-*.latent.safetensors")
    return file.read_bytes()


def using(method: str, threshold: object) -> tuple[object, ...]:
    words = ("--execution.step-cache", method, "--execution.step-cache-threshold", threshold)
    return (*words, "--execution.step-cache-start", 0, *METHODS[method])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        pytest.param("generate", OF_COGVIDEOX, id="cogvideox"),
        pytest.param("packed", OF_FRAMEPACK, id="framepack"),
    ],
)
def test_a_threshold_of_0_gives_the_bytes_of_a_plain_run(
    command: str, options: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
):
    make = request.getfixturevalue(command)
    assert make(*options, "--no-metadata", "--run", "plain").code == 0
    for method in METHODS:
        done = make(*options, *using(method, 0), "--no-metadata", "--run", method)
        assert done.code == 0, done.err
        assert "Not exact" not in done.notices
        assert latents(tmp_path / method) == latents(tmp_path / "plain")


def test_what_was_left_out_is_told_and_recorded(generate: Callable, packed: Callable, tmp_path: Path):
    done = generate(*OF_COGVIDEOX, *using("first_block", 1e6), "--run", "clip")
    assert "first_block 1e+06: 3 of 5 steps left out" in done.notices
    assert b"first_block 1e+06: 3 of 5 steps left out" in latents(tmp_path / "clip")
    done = packed(*OF_FRAMEPACK, *using("teacache", 1e6), "--guidance-scale", "2", "--run", "sections")
    assert done.code == 0, done.err
    assert "polynomial was never fitted to this model" in done.notices
    assert "teacache 1e+06: 6 of 10 passes left out" in done.notices


def test_measured_ratios_serve_the_next_run_and_its_replay(
    generate: Callable, reelwright: Callable, refused: Callable, tmp_path: Path, digests: Callable
):
    said = refused(*OF_COGVIDEOX, "--execution.step-cache", "magcache", code=2)
    assert "--execution.step-cache-calibrate ratios.json" in said
    measure = ("--execution.step-cache-calibrate", "ratios.json")
    assert generate(*OF_COGVIDEOX, *measure, "--run", "exact").code == 0
    ratios = json.loads((tmp_path / "ratios.json").read_text())["ratios"]
    assert [len(values) for values in ratios.values()] == [5, 5]
    cached = ("--execution.step-cache", "magcache", "--execution.step-cache-ratios", "ratios.json")
    done = generate(*OF_COGVIDEOX, *cached, "--run", "fast")
    assert re.search(r"magcache 0\.24: [1-3] of 5 steps left out", done.notices)
    assert reelwright("replay", *(tmp_path / "fast").glob("clip-*.safetensors"), "--run", "again").code == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "fast")
