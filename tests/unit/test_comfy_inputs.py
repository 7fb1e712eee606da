"""Between the inputs of nodes and the values of configurations."""

import json
from pathlib import Path

import pytest
import torch

from reelwright import families
from reelwright.comfy import host
from reelwright.comfy.inputs import inputs_of, lora_values, values_of
from reelwright.comfy.layout import EXECUTION, OPTIONS, fields_of, section_fields, shared_fields, story
from reelwright.comfy.pages import draw
from reelwright.comfy.pixels import Frames, keep_pictures, to_bytes, to_images
from reelwright.comfy.stories import keep_story
from reelwright.core.config import from_mapping, read_toml, to_mapping
from reelwright.core.errors import ConfigError
from reelwright.media.video_reader import read_video
from reelwright.protocols.configs import ExecutionConfig

WORKFLOWS = Path(__file__).parents[2] / "comfyui" / "example_workflows"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "output_folder", lambda: tmp_path)
    return tmp_path / "inputs"


def test_a_node_that_nobody_touches_says_what_the_schema_says():
    fields = shared_fields(EXECUTION)
    untouched = {name: told["default"] for name, (_, told) in inputs_of(fields).items()}
    said = from_mapping(ExecutionConfig, values_of(fields, untouched), "node")
    assert to_mapping(said) == to_mapping(ExecutionConfig())


def test_lists_choices_and_paths_are_read_as_people_write_them():
    fields = shared_fields(EXECUTION)
    given = {"step_cache_ratio_list": "1.0, 0.99 0.5", "preset": "exact", "step_cache_ratios": " a.json "}
    assert values_of(fields, given) == {
        "step_cache_ratio_list": [1.0, 0.99, 0.5],
        "preset": "exact",
        "step_cache_ratios": "a.json",
    }
    assert values_of(fields, {"preset": "none", "step_cache_ratios": ""}) == {}


def test_a_word_where_numbers_belong_is_refused_by_its_name():
    (family,) = [name for name in families.names() if story(name)]
    values = values_of(fields_of(family, OPTIONS), {"latent_paddings": "1, x"})
    with pytest.raises(ConfigError, match="latent_paddings"):
        from_mapping(families.configs(family).GENERATE, values, "node")


def test_a_stack_of_loras_is_what_the_command_line_takes():
    one = {"lora": "a.safetensors", "lora_multiplier": 0.5, "lora_alpha": 0.0}
    none = {"lora": "none", "lora_multiplier": 1.0, "lora_alpha": 0.0}
    assert lora_values([one, none]) == {"lora": ["a.safetensors"], "lora_multiplier": [0.5]}
    assert lora_values([one, {**one, "lora_alpha": 8.0}])["lora_alpha"] == [0.0, 8.0]
    assert lora_values([none]) == {}


def test_pictures_and_clips_come_back_from_their_files_as_they_were(kept: Path):
    frames_FHWC = torch.randint(0, 256, (5, 15, 22, 3), dtype=torch.uint8)
    images = to_images([frames_FHWC[:2], frames_FHWC[2:]])
    assert torch.equal(to_bytes(images), frames_FHWC)
    paths = keep_pictures(images)
    assert paths == keep_pictures(images) and len(set(paths)) == 5
    clip = Frames(images_FHWC=images, fps=0.0).keep(16.0)
    assert torch.equal(read_video(clip, fps=16.0), frames_FHWC)
    assert {path.parent for path in (*paths, clip)} == {kept}


def test_sections_become_a_storyboard_and_bad_ones_are_named(kept: Path):
    (family,) = [name for name in families.names() if story(name)]
    schema = story(family)
    assert schema is not None
    parts = [values_of(section_fields(family), {"prompt": text, "seed": 7}) for text in ("a dog", "a cat")]
    path = keep_story(schema, parts)
    assert [part["prompt"] for part in read_toml(path)["section"]] == ["a dog", "a cat"]
    assert keep_story(schema, parts) == path
    with pytest.raises(ConfigError, match="section 2: seconds"):
        keep_story(schema, [parts[0], {"seconds": -1.0}])


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_workflows_for_the_page_are_drawn_from_those_for_the_api(path: Path):
    source = json.loads((WORKFLOWS / "api" / path.name).read_text(encoding="utf-8"))
    command = "python -m reelwright.comfy.pages comfyui/example_workflows"
    assert json.loads(path.read_text(encoding="utf-8")) == draw(source), command
    assert path.with_suffix(".jpg").is_file()
