"""The nodes in a real ComfyUI, where one is at hand: through `/prompt`, and in its page."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from reelwright.comfy import NODE_CLASS_MAPPINGS
from reelwright.comfy.pages import shape_of
from reelwright.core.provenance import METADATA_KEY
from reelwright.media.image_ops import read_png_metadata
from reelwright.media.video_reader import read_mp4_metadata

from .comfyui_process import NODES, PATIENCE, ComfyUIProcess

WORKFLOWS = NODES / "example_workflows"
TINY = sorted(path for path in WORKFLOWS.glob("api/*.json") if path.stem.endswith("tiny"))
ALL = sorted(WORKFLOWS.glob("*.json"))


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    place = os.environ.get("REELWRIGHT_COMFYUI", "")
    if not place:
        pytest.skip(
            "NO COMFYUI: the nodes were tried in a stand-in only. Name a checkout in REELWRIGHT_COMFYUI, and"
            " in REELWRIGHT_COMFYUI_PYTHON the Python that has what it needs, and reelwright."
        )
    server = ComfyUIProcess(Path(place), tmp_path_factory.mktemp("comfyui"))
    try:
        yield server.start()
    finally:
        server.stop()


def workflow(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def test_comfyui_lists_every_node_as_it_is_drawn(comfyui: ComfyUIProcess):
    told = comfyui.get("/object_info")
    for name, kind in NODE_CLASS_MAPPINGS.items():
        drawn = json.loads(json.dumps(kind.INPUT_TYPES()))
        assert {group: told[name]["input"].get(group, {}) for group in drawn} == drawn
        assert told[name]["output"] == list(kind.RETURN_TYPES)
        assert told[name]["category"].startswith("Reelwright")


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_each_example_workflow_runs_to_a_file(comfyui: ComfyUIProcess, path: Path):
    told = comfyui.run(json.loads(path.read_text(encoding="utf-8")))
    assert told.end == "success", told.error or comfyui.log
    (shown,) = [output["images"] for output in told.outputs.values()]
    file = comfyui.file(shown[0])
    read = read_mp4_metadata if file.suffix == ".mp4" else read_png_metadata
    assert {METADATA_KEY, "prompt"} <= read(file).keys()
    assert told.steps and told.num_previews, "progress and previews while it runs"


def test_only_what_changed_runs_again(comfyui: ComfyUIProcess):
    prompt = workflow("cogvideox-text-to-video-tiny")
    comfyui.run(prompt)
    assert set(comfyui.run(prompt).cached) == set(prompt)
    prompt["2"]["inputs"]["prompt"] = "a green triangle"
    assert comfyui.run(prompt).cached == ["1"]


def test_cancel_stops_between_steps_and_the_next_prompt_runs(comfyui: ComfyUIProcess):
    prompt = workflow("cogvideox-text-to-video-tiny")
    prompt["3"]["inputs"] |= {"seed": 5, "steps": 60}
    told = comfyui.run(prompt, cancel_at=2)
    assert told.end == "interrupted" and max(step for step, _ in told.steps) < 60
    prompt["3"]["inputs"] |= {"steps": 3}
    assert comfyui.run(prompt).end == "success"


def test_free_memory_lets_go_and_the_next_prompt_loads_again(comfyui: ComfyUIProcess):
    prompt = workflow("cogvideox-text-to-video-tiny")
    prompt["3"]["inputs"] |= {"seed": 6, "steps": 2}
    assert comfyui.run(prompt).end == "success"
    comfyui.post("/free", {"unload_models": True, "free_memory": True})
    prompt["3"]["inputs"] |= {"seed": 7}
    assert comfyui.run(prompt).end == "success"


def test_what_is_wrong_is_said_where_it_is(comfyui: ComfyUIProcess):
    prompt = workflow("cogvideox-text-to-video-tiny")
    prompt["3"]["inputs"]["steps"] = 0
    refusal = comfyui.run(prompt).refusal
    assert refusal is not None
    (error,) = refusal["node_errors"]["3"]["errors"]
    assert (error["type"], error["details"]) == ("value_smaller_than_min", "steps")
    prompt["3"]["inputs"]["steps"] = 2
    prompt["2"]["inputs"]["prompt"] = ""
    told = comfyui.run(prompt)
    assert told.end == "error" and told.error["exception_message"].startswith("prompt: is empty")


def test_the_page_reads_the_workflows_as_the_api_does(comfyui: ComfyUIProcess, browser: Browser):
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(comfyui.address, wait_until="domcontentloaded")
    page.wait_for_function("window.app && window.app.graph && window.app.extensionManager")
    for path in ALL:
        drawn = json.loads(path.read_text(encoding="utf-8"))
        read = page.evaluate(
            "async (drawn) => { await window.app.loadGraphData(drawn);"
            " return (await window.app.graphToPrompt()).output }",
            drawn,
        )
        for key, node in workflow(path.stem).items():
            assert read[key]["class_type"] == node["class_type"]
            assert all_inputs(node) == {**all_inputs(node), **read[key]["inputs"]}, (path.stem, key)
            assert node["inputs"].keys() <= read[key]["inputs"].keys()
        assert read.keys() == workflow(path.stem).keys()
    page.close()


def all_inputs(node: dict[str, Any]) -> dict[str, Any]:
    """What a node is given, and for the rest of its widgets their defaults."""
    shape = shape_of(node["class_type"])
    return {name: told.get("default") for name, told in shape.widgets.items()} | node["inputs"]
