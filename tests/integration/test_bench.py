"""`reelwright bench` from the command line: ways to run beside the exact one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.core.events import ClipFinished, StepDone
from reelwright.workflows.benching import running, variants
from reelwright.workflows.benching.watching import RunWatch

SMALL = (
    *("--steps", 4, "--num-frames", 9, "--height", 64, "--width", 64, "--seed", 3, "--prompt", "a red ball"),
    *("--repeat", 1, "--no-own-process", "--run", "measured"),
)


@pytest.fixture
def bench(reelwright, tmp_path: Path):
    """Run `reelwright bench cogvideox`; the outcome and what is in the report."""

    def run(*words: object) -> tuple[Any, dict[str, Any]]:
        outcome = reelwright("bench", "cogvideox", *SMALL, *words)
        assert outcome.code == 0, outcome.err
        return outcome, json.loads((tmp_path / "measured" / "bench.json").read_text())

    return run


def test_a_run_with_the_same_bytes_loses_nothing(bench, monkeypatch):
    monkeypatch.setattr(
        families.configs("cogvideox"), "PRESETS", {"balanced": {"execution.step_cache": "off"}}
    )
    outcome, report = bench("--presets", "exact", "balanced")
    assert [result["name"] for result in report["results"]] == ["exact", "balanced"]
    for result in report["results"]:
        assert result["nearness"]["least_psnr"] == 100.0
        assert result["nearness"]["latent_error"] == 0.0
        assert result["nearness"]["ssim"] == pytest.approx(1.0)
        assert result["seconds"] > 0.0
        assert not result["exceeded"]
    rows = [line.split()[0] for line in outcome.out.splitlines()[:3]]
    assert rows == ["run", "exact", "balanced"]
    assert "warning" not in outcome.out


def test_a_preset_that_costs_too_much_here_says_so_and_exits_well(bench, monkeypatch):
    reckless = {
        "execution.step_cache": "first_block",
        "execution.step_cache_threshold": 10.0,
        "execution.step_cache_start": 0.0,
    }
    monkeypatch.setattr(families.configs("cogvideox"), "PRESETS", {"fast": reckless})
    monkeypatch.setattr(variants, "LEAST_PSNR", {"fast": 99.0})
    outcome, report = bench("--presets", "fast", "--json")
    fast = report["results"][1]
    loss = 99.0 - fast["nearness"]["psnr"]
    (finding,) = [event for event in outcome.events if event["event"] == "item_finding"]
    assert fast["exceeded"]
    assert loss > 0.0
    assert finding["message"].startswith(f"fast costs {loss:.1f} dB more than it may here")
    assert fast["shortcuts"]


def test_a_preset_that_leaves_nothing_out_here_says_so(bench, monkeypatch):
    timid = {"execution.step_cache": "teacache", "execution.step_cache_threshold": 1e-9}
    monkeypatch.setattr(families.configs("cogvideox"), "PRESETS", {"balanced": timid})
    outcome, _ = bench("--presets", "balanced", "--json")
    (finding,) = [event for event in outcome.events if event["event"] == "item_finding"]
    assert finding["kind"] == "no effect"
    assert "balanced makes the frames of the exact run: teacache 1e-09: 0 of" in finding["message"]


def test_options_that_are_given_are_measured_beside_the_run_without_them(bench):
    _, report = bench("--execution.step-cache", "first_block", "--execution.step-cache-threshold", 0)
    exact, given = report["results"]
    assert (exact["name"], given["name"]) == ("exact", "given")
    assert report["config"]["execution"]["step_cache"] == "off"
    assert given["nearness"]["latent_error"] == 0.0


def test_presets_beside_exact_alone_are_refused(refused, reelwright):
    said = refused("bench", "cogvideox", "--presets", "exact", code=2, command=reelwright)
    assert "Add balanced or fast" in said


def test_a_folder_with_measurements_is_not_measured_into_again(reelwright, tmp_path: Path):
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "bench.json").write_text("{}")
    outcome = reelwright("bench", "cogvideox", *SMALL)
    assert outcome.code == 2
    assert "holds measurements already" in outcome.err


def test_the_first_clip_only_warms_up():
    watch = RunWatch()
    for clip, seconds in ((1, 50.0), (2, 3.0)):
        watch(StepDone("denoise", 1, 2, seconds, 7))
        watch(StepDone("denoise", 2, 2, seconds, 9))
        watch(StepDone("decode", 1, 1, 1.0, 8))
        watch(ClipFinished(clip, 2, {"latent": f"{clip}"}, ("rounded",)))
    assert watch.taken.seconds == {"denoise": 6.0, "decode": 1.0}
    assert watch.taken.device_peak == 9
    assert watch.taken.clips == [{"latent": "2"}]
    assert watch.taken.shortcuts == ("rounded",)


def test_a_run_in_its_own_process_makes_the_clips_that_it_makes_here(tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("a red ball --s 1\na red ball\n")
    schema = families.configs("cogvideox").GENERATE
    asked = {"steps": 2, "num_frames": 9, "height": 64, "width": 64, "seed": 3, "format": "png"}
    prompts = tmp_path / "prompts.txt"
    here = running.run_here("cogvideox", schema(**asked, from_file=prompts, run=tmp_path / "here"))
    alone = running.run_alone("cogvideox", schema(**asked, from_file=prompts, run=tmp_path / "alone"))
    (first,), (second,) = here.clips, alone.clips
    assert Path(first["latent"]).read_bytes() == Path(second["latent"]).read_bytes()
    assert min(alone.host_peak, alone.total_seconds) > 0


def test_a_run_that_fails_in_its_own_process_says_why(tmp_path: Path, monkeypatch):
    said = """print('{"event": "failed", "kind": "FileError", "message": "there is no such model"}')"""
    monkeypatch.setattr(running, "_command", lambda family, recipe: [sys.executable, "-S", "-c", said])
    schema = families.configs("cogvideox").GENERATE
    with pytest.raises(UserError, match="there is no such model"):
        running.run_alone("cogvideox", schema(run=tmp_path / "alone"))
