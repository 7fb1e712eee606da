"""`reelwright doctor`: on this machine, and on machines that are only said to be so."""

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest
import torch

from reelwright.execution.attention import KernelFound
from reelwright.execution.fitting import Fit, Knob
from reelwright.execution.machine import DeviceFound, fault_of_format
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.estimates import Estimate, Stage, Term
from reelwright.workflows.examining import computing, fits, libraries, places

GPU = DeviceFound(device=torch.device("cuda", 0), name="Toy GPU", total=8 << 30, free=6 << 30)
CPU = DeviceFound(device=torch.device("cpu"), name="processor", total=16 << 30, free=4 << 30)


@pytest.fixture
def kernels(monkeypatch):
    """Kernels are said to work; they are tried for real in their own tests."""
    fares = [KernelFound(name="sdpa", works=True), KernelFound(name="sage", works=False, reason="is absent")]
    monkeypatch.setattr(computing, "probe_kernels", lambda device, dtype, head_size: fares)


@pytest.fixture
def told(reelwright, kernels):
    """Run `reelwright doctor --json`; its facts, and its findings by item."""

    def run(*words: object) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        outcome = reelwright("doctor", *words, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.loaded == []
        facts = [event["facts"] for event in outcome.events if event["event"] == "facts"]
        findings = [event for event in outcome.events if event["event"] == "item_finding"]
        return {k: v for each in facts for k, v in each.items()}, {each["item"]: each for each in findings}

    return run


def test_a_machine_without_a_gpu_is_told_of_and_is_no_problem(told):
    facts, findings = told()
    assert facts["device that auto takes"] == "cpu"
    assert facts["cpu formats"].endswith("auto takes float32 for bfloat16")
    assert facts["attention on cpu"] == "sdpa"
    assert facts["attention by sage"] == "is absent."
    assert facts["torch"] == metadata.version("torch")
    assert facts["video written with"] == "libx264"
    assert "comes with the package" in (facts["cogvideox tiny"], facts["framepack tiny"])
    assert "reelwright models download cogvideox 2b" in facts["cogvideox 2b"]
    assert "GiB free" in facts["disk for outputs"]
    assert findings == {}
    assert facts["problems"] == "none"


def test_models_of_one_family_are_looked_for_alone(told):
    facts, _ = told("framepack")
    assert "framepack tiny" in facts
    assert not any(name.startswith("cogvideox") for name in facts)


def test_a_family_that_is_not_known_is_refused(reelwright, refused):
    assert "Did you mean cogvideox" in refused("doctor", "cogvideo", code=2, command=reelwright)


def test_a_format_that_auto_takes_and_that_does_not_work_is_told_with_the_flag(told, monkeypatch):
    monkeypatch.setattr(computing, "devices_here", lambda: [GPU, CPU])
    monkeypatch.setattr(computing, "choose_dtype", lambda *_: torch.bfloat16)
    broken = {(GPU.device, torch.bfloat16): "no such kernel"}
    monkeypatch.setattr(computing, "fault_of_format", lambda *case: broken.get(case, ""))
    facts, findings = told()
    assert facts["cuda:0"] == "Toy GPU; 6.0 GiB of 8.0 GiB are free"
    assert facts["cuda:0 formats"] == "float16, float32; auto takes bfloat16 for bfloat16"
    assert "no such kernel" in findings["cuda:0"]["message"]
    assert "--execution.dtype float16" in findings["cuda:0"]["message"]
    assert facts["problems"] == "1"


def test_a_torch_that_cannot_see_the_gpu_is_told_how_to_be_replaced(told, monkeypatch):
    monkeypatch.setattr(computing.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(computing, "devices_here", lambda: [CPU])
    monkeypatch.setattr(torch.version, "cuda", None)
    _, findings = told()
    assert "built without CUDA" in findings["cuda"]["message"]
    assert "pip install --upgrade --force-reinstall torch" in findings["cuda"]["message"]


def test_libraries_that_are_old_or_absent_are_told_with_what_to_type(told, monkeypatch):
    wanted = ["numpy>=99", "nonesuch>=2", "nonesuch-too; extra == 'more'"]
    monkeypatch.setattr(libraries.metadata, "requires", lambda _: wanted)
    monkeypatch.setattr(libraries, "_extras", lambda: ["more"])
    facts, findings = told()
    assert "Do: pip install 'numpy>=99'" in findings["numpy"]["message"]
    assert "Do: pip install 'nonesuch>=2'" in findings["nonesuch"]["message"]
    assert "pip install 'reelwright[more]'" in facts["extra more"]


def test_a_library_that_does_not_load_is_a_problem_and_the_rest_is_told(told, monkeypatch):
    def broken() -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(computing, "devices_here", broken)
    facts, findings = told()
    assert "libcudart.so.12" in findings["reelwright"]["message"]
    assert "cogvideox tiny" in facts


def test_without_the_encoder_the_way_out_is_told(told, monkeypatch):
    monkeypatch.setattr(places, "_ENCODER", "nonesuch")
    _, findings = told()
    assert "--format png" in findings["av"]["message"]


def test_a_small_computation_tells_whether_a_format_works():
    assert fault_of_format(torch.device("cpu"), torch.float32) == ""
    assert fault_of_format(torch.device("meta"), torch.float32) != ""


def test_the_command_line_waits_for_torch_until_it_is_needed():
    told = "import sys, reelwright.cli.doctor; print(sorted({'torch', 'av', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_fits_is_told_with_the_command_that_the_planner_chose(told, monkeypatch):
    fit = Fit(
        execution=ExecutionConfig(),
        estimate=Estimate(
            stages=(Stage(name="denoise", terms=(Term(name="x", num_bytes=3 * 10**9, place="host"),)),)
        ),
        chosen=(Knob(field="tiling", value=True, costs="seams"),),
        problems=(),
    )
    too_large = replace(fit, problems=("decode needs 35.4 GB of memory; there are 16.0 GB.",))
    monkeypatch.setattr(fits, "begin", lambda family, command, config, plan: config.model)
    monkeypatch.setattr(fits, "fit_generation", lambda model: fit if model == "tiny" else too_large)
    facts, _ = told("cogvideox", "--fits")
    assert facts["cogvideox tiny in memory"] == (
        "needs 3.0 GB of memory: reelwright generate cogvideox --model tiny --execution.tiling"
    )
    assert facts["cogvideox 5b in memory"].startswith("does not fit: decode needs 35.4 GB")
