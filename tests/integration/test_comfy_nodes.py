"""ComfyUI's nodes in a stand-in of ComfyUI: what they are told, what they make, what is made again."""

import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reelwright import families
from reelwright.api import generate
from reelwright.checkpoint.latent_files import read_latents
from reelwright.comfy import NODE_CLASS_MAPPINGS, layout, making
from reelwright.comfy.inputs import CLIP_RATE, values_of
from reelwright.comfy.making import made_of
from reelwright.comfy.nodes import node_id
from reelwright.comfy.sessions import SESSIONS
from reelwright.core.errors import ConfigError
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.core.schema_fields import FieldFacts, describe
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.media.video_reader import read_mp4_metadata, read_video

from .comfy_stand_in import ComfyStandIn, Run, VideoOfFile, VideoOfFrames

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src" / "reelwright" / "assets"
WORKFLOWS = ROOT / "comfyui" / "example_workflows"
PROMPT = "a red circle moves to the right"


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyStandIn]:
    server = ComfyStandIn(tmp_path_factory.mktemp("ComfyUI"))
    (server.folder / "custom_nodes" / "reelwright").symlink_to(ROOT / "comfyui", target_is_directory=True)
    picture = Image.radial_gradient("L").convert("RGB")
    for name in ("example.png", "other.png"):
        picture.save(server.folder / "input" / name)
    with server.modules():
        server.load_custom_nodes()
        yield server


@pytest.fixture(autouse=True)
def _nothing_pending(comfy: ComfyStandIn):
    comfy.on_progress = lambda *_: None


def text_to_video(**changes: Any) -> dict[str, Any]:
    """Load, prompt, video; changes as `Sample_steps=3`."""
    nodes: dict[str, Any] = {
        "1": ("Model", {"model": "tiny"}),
        "2": ("Text", {"prompt": PROMPT}),
        "3": ("Sample", {"model": ["1", 0], "text": ["2", 0], "seed": 3, "steps": 2, "num_frames": 9}),
        "4": ("Decode", {"model": ["1", 0], "samples": ["3", 0]}),
        "5": ("Save", {"images": ["4", 0]}),
    }
    for name, value in changes.items():
        role, _, field = name.partition("_")
        next(inputs for kind, inputs in nodes.values() if kind == role)[field] = value
    return {
        key: {
            "class_type": "ReelwrightSave" if role == "Save" else node_id("cogvideox", role),
            "inputs": inputs,
        }
        for key, (role, inputs) in nodes.items()
    }


def file_of(comfy: ComfyStandIn, run: Run, node: str = "5") -> Path:
    assert run.error is None, run.error
    shown = run.outputs[node]["images"][0]
    return comfy.folder / "output" / shown["subfolder"] / shown["filename"]


def test_a_clip_is_the_one_that_the_command_line_makes(comfy: ComfyStandIn, tmp_path: Path):
    run = comfy.run(text_to_video())
    path = file_of(comfy, run)
    (clip,) = generate(
        "cogvideox",
        model="tiny",
        prompt=PROMPT,
        seed=3,
        steps=2,
        num_frames=9,
        out=tmp_path,
        contact_sheet=False,
    )
    assert torch.equal(read_video(path), clip.frames())
    assert run.outputs["5"]["animated"] == (True,)
    steps = [step for step, total, _ in run.progress if total == 2]
    assert steps[:2] == [1, 1] and steps[-1] == 2, "each step, and a preview after the first"
    previews = [preview for _, _, preview in run.progress if preview is not None]
    assert previews and previews[0][0] == "JPEG" and previews[0][1].mode == "RGB"


def test_the_file_says_how_it_was_made_and_opens_as_a_workflow(comfy: ComfyStandIn):
    path = file_of(comfy, comfy.run(text_to_video(Save_crf=20)))
    said = read_mp4_metadata(path)
    record = Provenance.from_json(said[METADATA_KEY], str(path))
    assert (record.config["prompt"], record.config["seed"], record.config["crf"]) == (PROMPT, 3, 20)
    assert record.config["format"] == "mp4"
    assert json.loads(said["prompt"])["3"]["inputs"]["steps"] == 2
    assert "nodes" in json.loads(said["workflow"])


def test_only_what_changed_runs_again_and_the_model_stays(comfy: ComfyStandIn):
    comfy.run(text_to_video())
    assert comfy.run(text_to_video()).executed == []
    before = open_sessions()
    changed = comfy.run(text_to_video(Text_prompt="a blue square"))
    assert changed.executed == ["2", "3", "4", "5"]
    assert open_sessions() == before and len(before) == 1
    assert comfy.run(text_to_video(Text_prompt="a blue square", Save_crf=30)).executed == ["5"]


def test_latents_that_are_on_disk_are_not_made_again(comfy: ComfyStandIn):
    comfy.run(text_to_video())
    comfy.cached.clear()  # as after a restart
    again = comfy.run(text_to_video())
    assert again.executed == ["1", "2", "3", "4", "5"]
    assert not any(total == 2 for _, total, _ in again.progress), "no step was taken"


def test_cancel_stops_at_the_next_step_and_what_comes_after_is_right(comfy: ComfyStandIn):
    wanted = read_video(file_of(comfy, comfy.run(text_to_video(Sample_seed=8))))

    def cancel(step: int, total: int, _: object) -> None:
        comfy.memory.is_interrupted = (step, total) == (2, 4)

    comfy.on_progress = cancel
    stopped = comfy.run(text_to_video(Sample_seed=9, Sample_steps=4))
    assert stopped.is_interrupted and "4" not in stopped.executed
    assert not any(step > 2 for step, total, _ in stopped.progress if total == 4)
    comfy.on_progress = lambda *_: None
    assert comfy.run(text_to_video(Sample_seed=9, Sample_steps=4)).error is None
    assert torch.equal(
        read_video(file_of(comfy, comfy.run(text_to_video(Sample_seed=8, Save_crf=17)))), wanted
    )


def test_free_memory_lets_go_of_the_model(comfy: ComfyStandIn):
    comfy.run(text_to_video())
    kept = [weakref.ref(each) for each in open_sessions()]
    assert kept and comfy.memory.current_loaded_models
    comfy.memory.unload_all_models()
    assert not any(each() for each in kept) and not comfy.memory.current_loaded_models
    assert comfy.run(text_to_video(Sample_seed=11)).error is None
    assert len(comfy.memory.current_loaded_models) == len(open_sessions()) == 1


def open_sessions() -> list[object]:
    return [session for session, _ in SESSIONS._managed]


def test_frames_that_another_node_changed_are_saved_without_a_record(comfy: ComfyStandIn):
    prompt = text_to_video()
    prompt["6"] = {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}}
    prompt["5"]["inputs"] = {"images": ["6", 0]}
    assert "fps: these images are no clip" in str(comfy.run(prompt).error)
    prompt["5"]["inputs"]["fps"] = 8.0
    assert METADATA_KEY not in read_mp4_metadata(file_of(comfy, comfy.run(prompt)))


def test_latents_are_as_comfyui_has_them_and_others_like_them_are_seen_alike(comfy: ComfyStandIn):
    run = comfy.run(text_to_video())
    samples, images = run.results["3"][0]["samples"], run.results["4"][0]
    made = made_of(samples)
    assert made is not None and samples.shape[:2] == (1, 16)
    settings = ASSETS / "cogvideox-tiny" / "vae" / "config.json"
    scale = json.loads(settings.read_text(encoding="utf-8"))["scaling_factor"]
    assert torch.allclose(samples * scale, read_latents(made.latents), atol=1e-6)
    seen = NODE_CLASS_MAPPINGS[node_id("cogvideox", "Decode")]()
    images_again, fps = seen.run(model=run.results["1"][0], samples={"samples": samples.clone()})
    assert fps == run.results["4"][1] == 8.0
    assert (images_again - images).abs().max() <= 1.5 / 255


def test_errors_are_said_as_comfyui_says_them(comfy: ComfyStandIn):
    def told(key: str, prompt: dict[str, Any]) -> tuple[str, str]:
        (error,) = comfy.run(prompt).node_errors[key]["errors"]
        return error["type"], error["message"] + " " + error["details"]

    assert told("3", text_to_video(Sample_steps=0)) == (
        "value_smaller_than_min",
        "Value 0 smaller than min of 1 steps",
    )
    assert told("1", text_to_video(Model_model="nope"))[0] == "value_not_in_list"
    assert told("4", text_to_video(Decode_model=["2", 0]))[0] == "return_type_mismatch"
    other = text_to_video()
    other["1"]["class_type"] = node_id("framepack", "Model")
    assert comfy.run(other).node_errors["3"]["errors"][0]["type"] == "return_type_mismatch"
    without = text_to_video()
    del without["3"]["inputs"]["model"]
    assert told("3", without)[0] == "required_input_missing"
    assert "prompt: is empty" in str(comfy.run(text_to_video(Text_prompt="")).error)
    assert "/nowhere/model" in str(comfy.run(text_to_video(Model_folder="/nowhere/model")).error)


def test_a_model_of_images_comes_from_comfyuis_folders(comfy: ComfyStandIn):
    transformer = TransformerConfig(
        **{**vars(TINY_TRANSFORMER), "in_channels": 32, "use_learned_positional_embeddings": True}
    )
    write_model(comfy.folder / "models" / "diffusers" / "pictures", transformer=transformer)
    prompt = text_to_video(Model_model="pictures")
    assert "image: is missing" in str(comfy.run(prompt).error)
    prompt["6"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    prompt["7"] = {"class_type": node_id("cogvideox", "Images"), "inputs": {"image": ["6", 0]}}
    prompt["3"]["inputs"]["images"] = ["7", 0]
    prompt["3"]["inputs"].pop("num_frames")
    run = comfy.run(prompt)
    record = Provenance.from_json(read_mp4_metadata(file_of(comfy, run))[METADATA_KEY], "clip")
    kept = Image.open(record.inputs["image"]["path"])
    assert kept.tobytes() == Image.open(comfy.folder / "input" / "example.png").tobytes()
    shutil.rmtree(comfy.folder / "models" / "diffusers")


def test_where_comfyui_stays_on_the_processor_clips_are_made_there(
    comfy: ComfyStandIn, monkeypatch: pytest.MonkeyPatch
):
    config = families.configs("cogvideox").GENERATE()
    assert making.placed(config) is config
    monkeypatch.setattr(making, "choose_device", lambda _: torch.device("cuda"))
    assert making.placed(config).execution.device == "cpu"
    monkeypatch.setattr(comfy.memory, "device", torch.device("cuda"))
    assert making.placed(config) is config


def test_a_clip_may_be_images_a_video_or_latents(comfy: ComfyStandIn):
    run = comfy.run(text_to_video())
    samples, images = run.results["3"][0], run.results["4"][0]
    fields = layout.fields_of("framepack", layout.CLIPS)

    def taken(clip: object) -> Any:
        return values_of(fields, {"extend": clip, CLIP_RATE: 12.0})["extend"]

    assert (taken(images).fps, taken(VideoOfFrames(images, 24.0)).fps) == (12.0, 24.0)
    assert taken(VideoOfFile(file_of(comfy, run))) == str(file_of(comfy, run))
    made = made_of(samples["samples"])
    assert made is not None and taken(samples) == str(made.latents)
    with pytest.raises(ConfigError, match="extend: these latents are of no sample node"):
        taken({"samples": samples["samples"].clone()})


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("api/*.json")), ids=lambda path: path.stem)
def test_example_workflows_pass_comfyuis_checks(
    comfy: ComfyStandIn, path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copy(comfy.folder / "input" / "example.png", comfy.folder / "input" / "clip.mp4")
    ran: list[list[str]] = []
    monkeypatch.setattr(comfy, "_execute", lambda prompt, ends, run: ran.append(ends))
    run = comfy.run(json.loads(path.read_text(encoding="utf-8")))
    assert (run.error, run.node_errors, len(ran)) == (None, {}, 1)


def test_a_long_video_is_made_of_section_nodes_and_of_a_changed_one_only_what_is_new(comfy: ComfyStandIn):
    prompt = json.loads((WORKFLOWS / "api" / "framepack-long-video-tiny.json").read_text(encoding="utf-8"))
    parts = [key for key in prompt if prompt[key]["class_type"].endswith("Section")]
    sample = next(key for key in prompt if prompt[key]["class_type"].endswith("Sample"))
    prompt[sample]["inputs"] |= {"steps": 1, "sections": [parts[1], 0]}
    del prompt[parts[2]]
    end = max(prompt, key=int)
    first = comfy.run(prompt)
    assert len(read_video(file_of(comfy, first, end))) == 2 * 36 + 1
    record = Provenance.from_json(read_mp4_metadata(file_of(comfy, first, end))[METADATA_KEY], "clip")
    assert record.config["video_sections"] == 2 and record.inputs["story"]["path"].endswith(".story.toml")

    prompt[parts[0]]["inputs"]["prompt"] = (
        "She closes her eyes."  # made last, since the last section is first
    )
    second = comfy.run(prompt)
    made = [each.results[sample][0]["samples"] for each in (first, second)]
    assert torch.equal(made[0][:, :, -9:], made[1][:, :, -9:]) and not torch.equal(*made)
    runs = [made_of(samples).latents.parent for samples in made]
    told = [(run / "events.jsonl").read_text().count('"stage": "denoise", "step"') for run in runs]
    assert told == [2, 1]


def test_nodes_have_the_fields_of_the_schemas_and_nothing_else():
    for family in families.names():
        schema = families.configs(family).GENERATE
        story = layout.story(family)
        elsewhere = {*layout.DECIDED, *((story.field,) if story else ())}
        wanted = {
            each.dotted: each
            for each in describe(schema)
            if each.kind != "group" and each.dotted not in elsewhere
        }
        found = dict(drawn_fields(family))
        assert found.keys() == wanted.keys()
        for dotted, told in found.items():
            check_same(wanted[dotted], told)


ALONE = {
    "Model": {"folder", "loras", "execution"},
    "Lora": {"before"},
    "Clips": {CLIP_RATE},
    "Sample": {"model", "text", "images", "clips", "single_frames", "options", "compatibility", "sections"},
    "Decode": {"model", "samples"},
    "Save": {"images", "filename_prefix", "fps"},
}
"""Inputs that no command line has: links between nodes, and where something is."""


def drawn_fields(family: str) -> Iterator[tuple[str, tuple[Any, dict[str, Any]]]]:
    """Dotted field -> the input that stands for it."""
    own = [key for key in NODE_CLASS_MAPPINGS if key.startswith(f"Reelwright_{family}_")]
    shared = [f"Reelwright{role}" for role in ("Lora", "Save", "Execution")]
    groups = {each.name for each in describe(families.configs(family).GENERATE) if each.kind == "group"}
    for key in (*own, *shared):
        role = key.rpartition("_")[2].removeprefix("Reelwright")
        if role == "Section":
            continue
        group = f"{role.lower()}." if role.lower() in groups else ""
        told = NODE_CLASS_MAPPINGS[key].INPUT_TYPES()
        for name, facts in {**told.get("required", {}), **told.get("optional", {})}.items():
            if name not in ALONE.get(role, ()):
                yield f"{group}{name}", facts


def check_same(facts: FieldFacts, told: tuple[Any, dict[str, Any]]) -> None:
    kind, options = told
    about = " ".join(facts.about.split())
    assert options["tooltip"].startswith(about)
    if facts.kind == "choice":
        assert kind == ([*(["none"] if facts.optional else []), *facts.choices])
        assert options["default"] == (facts.default or "none")
    elif facts.kind in ("integer", "number") and facts.name not in ("preview_every",):
        assert kind == {"integer": "INT", "number": "FLOAT"}[facts.kind]
        assert options["default"] == facts.default
        assert facts.minimum is None or options["min"] == facts.minimum
        assert facts.maximum is None or options["max"] == facts.maximum
    elif facts.kind == "switch":
        assert (kind, options["default"]) == ("BOOLEAN", facts.default)
    elif facts.kind == "text" and facts.name != "model":
        assert (kind, options["default"]) == ("STRING", facts.default)


def test_no_module_of_comfyui_and_no_torch_is_needed_to_draw_the_nodes():
    code = "import sys, reelwright.comfy; print(sorted({'torch', 'comfy'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
