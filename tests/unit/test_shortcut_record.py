"""What was not exact is told in every file of a clip; where things ran is told in none."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelwright import families
from reelwright.checkpoint.latent_files import read_latents
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.events import ClipFinished, Notice
from reelwright.core.provenance import METADATA_KEY, Provenance, tells_of_same_work
from reelwright.families.framepack.section_keys import SectionKeys
from reelwright.families.framepack.sections import Timeline, section_layouts
from reelwright.media.video_reader import read_mp4_metadata
from reelwright.protocols.configs import ExecutionConfig, GenerateConfig
from reelwright.protocols.family import FindSection, Made, Section, Segment
from reelwright.protocols.policy_configs import DECIDES_NOTHING, without_placement
from reelwright.workflows.clips.making import Clip, make_clips
from reelwright.workflows.clips.planning import PlannedClip
from reelwright.workflows.clips.recording import Tally

RECORD = Provenance(version="1", workflow="generate", family="toy", config={"seed": 7})
CACHE = "step cache: 3 of 4 steps left out"


class ToySession:
    """Makes clips of two sections; each section that it makes itself takes a shortcut."""

    def __init__(self, shortcuts: Sequence[str]) -> None:
        self.shortcuts = tuple(shortcuts)

    def generate(self, requests: Sequence[Any], find: FindSection, /) -> Iterator[Made]:
        for _ in requests:
            for index, shortcut in enumerate(self.shortcuts):
                found = find(f"{index}" * 64)
                latents = torch.full((1, 1, 1, 2, 2), float(index)) if found is None else found
                told = (shortcut,) if found is None else ()
                yield Section(
                    key=f"{index}" * 64, index=index, total=2, latents_BCTHW=latents, facts={}, fps=8,
                    shortcuts=told,
                )  # fmt: skip
            yield self.open_latents(torch.zeros(1, 1, 1, 2, 2), None)

    def open_latents(self, latents_BCTHW: torch.Tensor, config: Any, /) -> Segment:
        frames = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
        return Segment(latents_BCTHW=latents_BCTHW, num_frames=2, fps=8.0, decode=lambda: iter([frames]))

    def write_merged(self, path: Path, /) -> Iterator[Any]:
        raise NotImplementedError


def clip_in(folder: Path, **changes: Any) -> Clip:
    config = GenerateConfig(seed=7, contact_sheet=False, **changes)
    plan = PlannedClip(family="toy", config=config, record=RECORD.to_json(), request=config)  # type: ignore[arg-type]
    return Clip(plan=plan, folder=folder, number=1, total=1)


def told_in(path: Path) -> tuple[str, ...]:
    metadata = read_mp4_metadata(path) if path.suffix == ".mp4" else read_safetensors_metadata(path)
    return Provenance.from_json(metadata[METADATA_KEY], str(path)).shortcuts


def test_each_file_tells_of_the_shortcuts_of_all_sections(tmp_path: Path):
    clip = clip_in(tmp_path)
    *_, finished = make_clips(ToySession([CACHE, "another"]), [clip])
    assert isinstance(finished, ClipFinished)
    assert finished.shortcuts == told_in(clip.files.latent) == (CACHE, "another")
    assert told_in(Path(finished.files["video"])) == (CACHE, "another")


def test_a_section_that_was_kept_tells_of_its_shortcut_when_the_clip_is_resumed(tmp_path: Path):
    clip = clip_in(tmp_path)
    made = make_clips(ToySession([CACHE, "another"]), [clip])
    next(event for event in made if getattr(event, "kind", "") == "section")
    made.close()  # type: ignore[attr-defined]
    *_, finished = make_clips(ToySession(["never made again", "another"]), [clip])
    assert finished.shortcuts == (CACHE, "another")  # type: ignore[union-attr]


def test_a_finished_clip_and_one_to_be_decoded_again_tell_the_same(tmp_path: Path):
    clip = clip_in(tmp_path)
    *_, first = make_clips(ToySession([CACHE]), [clip])
    assert list(make_clips(ToySession([]), [clip])) == [first]
    Path(first.files["video"]).unlink()  # type: ignore[union-attr]
    *_, again = make_clips(ToySession([]), [clip])
    assert again == first
    assert told_in(clip.files.latent) == (CACHE,)
    assert read_latents(clip.files.latent).shape == (1, 1, 1, 2, 2)


def test_tiles_are_told_in_frames_and_not_in_latents_that_never_saw_them(tmp_path: Path):
    clip = clip_in(tmp_path, execution=ExecutionConfig(tiling=True, tile_size=64))
    *_, finished = make_clips(ToySession([]), [clip])
    assert told_in(clip.files.latent) == ()
    tiles = ("frames decoded in overlapping tiles of 64 pixels",)
    assert told_in(Path(finished.files["video"])) == tiles  # type: ignore[union-attr]


def test_weights_that_were_rounded_are_told(tmp_path: Path):
    clip = clip_in(tmp_path, execution=ExecutionConfig(text_weights="int8"))
    list(make_clips(ToySession([CACHE]), [clip]))
    told = told_in(clip.files.latent)
    assert told == ("weights of the text encoder held as int8", CACHE)


def test_without_metadata_the_record_beside_the_latents_tells(tmp_path: Path):
    clip = clip_in(tmp_path, metadata=False)
    list(make_clips(ToySession([CACHE]), [clip]))
    assert json.loads(clip.files.record.read_text())["shortcuts"] == [CACHE]
    (again,) = make_clips(ToySession([]), [clip])
    assert again.shortcuts == (CACHE,)  # type: ignore[union-attr]


@pytest.mark.parametrize(("then", "num_notices"), [(None, 1), ((CACHE,), 1), ((), 2)])
def test_a_notice_at_the_end_tells_and_compares_with_the_clip_that_is_made_again(then: Any, num_notices: int):
    tally = Tally(then)
    list(tally.watch([ClipFinished(1, 1, {}, (CACHE,))]))
    notices = [event.message for event in tally.end() if isinstance(event, Notice)]
    assert len(notices) == num_notices
    assert CACHE in notices[0]
    assert all("bytes may differ" in text for text in notices[1:])


def test_exact_clips_need_no_word():
    tally = Tally()
    list(tally.watch([ClipFinished(1, 1, {})]))
    assert not [event for event in tally.end() if isinstance(event, Notice)]


def test_records_are_of_the_same_work_whatever_it_came_to():
    text = RECORD.to_json()
    assert tells_of_same_work(text, replace(RECORD, shortcuts=(CACHE,)).to_json())
    assert not tells_of_same_work(text, replace(RECORD, config={"seed": 8}).to_json())
    assert not tells_of_same_work(text, None)
    assert not tells_of_same_work(text, "no record")


def test_placement_is_no_part_of_a_record_and_what_shows_in_results_is():
    placed = ExecutionConfig(
        block_swap=4, swap_home="disk", stream_encoders=True, vram=8.0, ram=16.0, fit="on"
    )
    assert without_placement(vars(placed)) == without_placement(vars(ExecutionConfig()))
    decides = {"weights", "text_weights", "attention", "compile", "guidance_passes", "preset", "step_cache"}
    assert decides <= without_placement(vars(placed)).keys()
    assert not DECIDES_NOTHING & without_placement(vars(placed)).keys()


def test_kept_sections_of_an_exact_run_are_none_of_a_run_with_a_step_cache(tmp_path: Path):
    family = families.load("framepack")
    schema = families.configs("framepack").GENERATE
    layout = section_layouts(Timeline(num_sections=1, window=2, num_before=1, num_after=0), "forward")[0]

    def key(**execution: Any) -> str:
        config = schema(prompt="a red ball", seed=1, execution=ExecutionConfig(device="cpu", **execution))
        model = family.locate(config)
        request = family.resolve(config, model)
        keys = SectionKeys(model, request, torch.float32, "cpu")  # type: ignore[arg-type]
        return keys.next(layout, request.sections[0])  # type: ignore[attr-defined]

    exact = key()
    assert exact == key(block_swap=1, stream_encoders=True, vram=8.0)
    shortcuts = [{"step_cache": "first_block"}, {"weights": "fp8_scaled"}, {"attention": "math"}]
    assert exact not in {key(**shortcut) for shortcut in shortcuts}
