"""Clips and captions of CogVideoX as files of a cache, and those files as what training is given."""

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from reelwright.checkpoint.settings_files import write_json
from reelwright.core.errors import CheckpointError, ConfigError, FileError
from reelwright.families import load as load_family
from reelwright.families.cogvideox.cache_latents import CogVideoXLatentCache, locate_latents
from reelwright.families.cogvideox.cache_layout import LatentFileName, is_text_file, text_file_name
from reelwright.families.cogvideox.cache_texts import locate_texts
from reelwright.families.cogvideox.config import CogVideoXCacheLatents, CogVideoXCacheText
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER
from reelwright.protocols.caching import CacheFile, ClipFrames
from reelwright.protocols.clips import Clip, MediaFacts, Source
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.datasets import DatasetConfig

ASSETS = Path(__file__).parents[2] / "src/reelwright/assets/cogvideox-tiny"
pytestmark = pytest.mark.usefixtures("small_tiny")
DATASET = DatasetConfig(video_directory="clips")
SCALE = 0.7
FIRST_FRAME = {"first_frame": "both"}


def clip(num_frames: int = 17, size: tuple[int, int] = (48, 32), *, stem: str = "a", start: int = 0) -> Clip:
    source = Source(media=f"{stem}.mp4", kind="video", stem=stem, caption="", caption_origin="")
    facts = MediaFacts(size=size, num_frames=99, fps=8.0, duration=12.4, content="0" * 64)
    return Clip(source=source, facts=facts, start=start, num_frames=num_frames, size=size, fps=8.0)


def frames_of(clip: Clip, seed: int = 0) -> torch.Tensor:
    width, height = clip.size
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (clip.num_frames, height, width, 3), dtype=torch.uint8, generator=generator)


def pixels_of(frames_FHWC: torch.Tensor) -> torch.Tensor:
    return (frames_FHWC.permute(3, 0, 1, 2).unsqueeze(0).float() / 255) * 2 - 1


def opened(clip: Clip, frames: torch.Tensor, chunk: int = 5) -> ClipFrames:
    return ClipFrames(clip=clip, dataset=DATASET, chunks=lambda: iter(frames.split(chunk)))


def cache(**values) -> CogVideoXLatentCache:
    return locate_latents(CogVideoXCacheLatents(**values))


def encode_one(cache: CogVideoXLatentCache, clip: Clip, frames: torch.Tensor) -> CacheFile:
    ((file,),) = cache.open().encode([opened(clip, frames)])
    return file


def read(file: CacheFile, seed: int = 0, **values) -> dict[str, torch.Tensor]:
    caching = load_family("cogvideox").caching
    assert caching is not None
    written = load(save(dict(file.tensors), dict(file.metadata)))
    return caching.reader(CogVideoXCacheLatents(**values), DATASET).read(
        written, 0, torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("num_frames", [1, 9, 25])
@pytest.mark.parametrize("chunk", [1, 7, 99])
def test_a_clip_that_arrives_in_pieces_gives_the_latents_of_the_whole(num_frames, chunk):
    one = clip(num_frames)
    frames = frames_of(one)
    encoder = cache(posterior="mean").open()
    ((file,),) = encoder.encode([opened(one, frames, chunk)])
    expected = encoder.space.autoencoder.encode(pixels_of(frames)).mean[0] * SCALE
    assert list(file.tensors) == [f"latents_{(num_frames - 1) // 4 + 1}x4x6_float16"]
    (latents,) = file.tensors.values()
    torch.testing.assert_close(latents, expected.half(), atol=0, rtol=0)
    assert file.metadata == {
        **{"architecture": "cogvideox", "format_version": "1.0.1", "fps": "8"},
        **{"frame_count": str(num_frames), "width": "48", "height": "32"},
    }


def test_norms_can_see_the_whole_clip():
    one = clip(17)
    frames = frames_of(one)
    encoder = cache(posterior="mean", vae_chunk="whole").open()
    ((file,),) = encoder.encode([opened(one, frames)])
    expected = encoder.space.autoencoder.encode(pixels_of(frames), chunk=0).mean[0] * SCALE
    torch.testing.assert_close(file.tensors["latents_5x4x6_float16"], expected.half(), atol=0, rtol=0)
    parts = encode_one(cache(posterior="mean"), one, frames).tensors["latents_5x4x6_float16"]
    assert (parts - expected.half()).abs().max() > 0.01


def test_clips_encoded_together_are_as_each_alone():
    both = [clip(stem="a"), clip(stem="b")]
    frames = [frames_of(each, seed) for seed, each in enumerate(both)]
    found = cache(**FIRST_FRAME)
    together = found.open().encode([opened(*pair) for pair in zip(both, frames, strict=True)])
    for (file,), each, own in zip(together, both, frames, strict=True):
        alone = encode_one(found, each, own)
        assert file.name == alone.name
        assert file.tensors.keys() == alone.tensors.keys()
        for key, tensor in file.tensors.items():
            torch.testing.assert_close(tensor, alone.tensors[key], atol=2e-3, rtol=2e-3)


def test_a_long_clip_is_never_in_memory_as_a_whole():
    one = clip(65)
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def arriving():
        nonlocal most
        for frame in frames_of(one):
            mine = frame.clone()[None]
            alive.append(weakref.ref(mine))
            most = max(most, sum(each() is not None for each in alive))
            yield mine

    cache().open().encode([ClipFrames(clip=one, dataset=DATASET, chunks=arriving)])
    assert len(alive) == 65
    assert most <= 10


def test_tiles_are_encoded_in_step_with_the_stream():
    one = clip(17, (96, 64))
    frames = frames_of(one)
    tiled = cache(posterior="mean", execution=ExecutionConfig(tiling=True, tile_size=48))
    encoder = tiled.open()
    ((file,),) = encoder.encode([opened(one, frames)])
    expected = encoder.space.encode(pixels_of(frames)).mean[0] * SCALE
    torch.testing.assert_close(file.tensors["latents_5x8x12_float16"], expected.half(), atol=0, rtol=0)
    assert tiled.facts(DATASET) != cache(posterior="mean").facts(DATASET)


def test_the_first_frame_is_kept_as_a_picture_encoded_on_its_own():
    one = clip(9)
    frames = frames_of(one)
    encoder = cache(posterior="mean", **FIRST_FRAME).open()
    ((file,),) = encoder.encode([opened(one, frames)])
    image = encoder.space.autoencoder.encode(pixels_of(frames[:1])).mean[0] * SCALE
    items = read(file)
    assert items.keys() == {"latents", "image_latents", "first_frame"}
    torch.testing.assert_close(items["image_latents"], image.half(), atol=0, rtol=0)
    assert torch.equal(items["first_frame"], frames[0].permute(2, 0, 1))
    assert (items["latents"][:, :1] - items["image_latents"]).abs().max() > 0.01  # norms saw nine frames


@pytest.mark.parametrize(
    ("kept", "names"),
    [("none", set()), ("latents", {"image_latents"}), ("pixels", {"first_frame"})],
)
def test_of_the_first_frame_is_kept_what_was_asked_for(kept, names):
    one = clip(9)
    file = encode_one(cache(first_frame=kept, posterior="mean"), one, frames_of(one))
    assert read(file).keys() == {"latents", *names}


def test_models_that_read_images_keep_the_first_frame_unless_told(tmp_path):
    write_json(
        tmp_path / "transformer" / "config.json", replace(TINY_TRANSFORMER, in_channels=32).to_json("T")
    )
    assert cache().first_frame == "none"
    assert cache(model=str(tmp_path), vae=ASSETS / "vae").first_frame == "both"


@pytest.mark.parametrize("posterior", ["mean", "sample", "moments"])
def test_the_size_of_a_file_is_known_before_it_is_there(posterior):
    one = clip(17, (96, 64))
    found = cache(posterior=posterior, **FIRST_FRAME)
    (entry,) = found.entries(one, DATASET)
    file = encode_one(found, one, frames_of(one))
    assert entry.name == file.name
    assert entry.num_bytes == pytest.approx(len(save(dict(file.tensors), dict(file.metadata))), abs=1024)


def test_a_draw_belongs_to_the_clip_and_the_seed():
    one, moved, later = clip(9), clip(9, stem="moved"), clip(9, start=8)
    frames = frames_of(one)

    def latents(clip: Clip, seed: int = 0, **values) -> torch.Tensor:
        file = encode_one(cache(posterior="sample", seed=seed, **values), clip, frames)
        return file.tensors["latents_3x4x6_float16"]

    drawn = latents(one)
    assert torch.equal(drawn, latents(one))
    assert torch.equal(drawn, latents(moved, **FIRST_FRAME))
    assert not torch.equal(drawn, latents(one, seed=1))
    assert not torch.equal(drawn, latents(later))


def test_draws_from_moments_have_their_mean_and_spread():
    one = clip(9)
    frames = frames_of(one)
    encoder = cache(posterior="moments", **FIRST_FRAME).open()
    ((file,),) = encoder.encode([opened(one, frames)])
    reader = load_family("cogvideox").caching.reader(CogVideoXCacheLatents(), DATASET)
    draws = [reader.read(file.tensors, 0, torch.Generator().manual_seed(seed)) for seed in range(300)]
    clip_and_image = {"latents": pixels_of(frames), "image_latents": pixels_of(frames[:1])}
    for name, pixels in clip_and_image.items():
        posterior = encoder.space.autoencoder.encode(pixels)
        spread = torch.exp(0.5 * posterior.log_variance)[0] * SCALE
        found = torch.stack([draw[name] for draw in draws])
        distance = (found.mean(0) - posterior.mean[0] * SCALE) / spread
        assert distance.abs().max() < 5 / 300**0.5
        assert (found.std(0) / spread - 1).abs().max() < 5 / 600**0.5
        assert found.std(0).min() > 0
    again = reader.read(file.tensors, 0, torch.Generator().manual_seed(7))
    assert torch.equal(again["latents"], draws[7]["latents"])


def test_a_file_without_latents_is_refused():
    reader = load_family("cogvideox").caching.reader(CogVideoXCacheLatents(), DATASET)
    with pytest.raises(FileError, match="no latents"):
        reader.read({"image_latents_1x4x6_float16": torch.zeros(16, 1, 4, 6)}, 0, torch.Generator())
    with pytest.raises(FileError, match="no features"):
        reader.read_text({"latents_1x4x6_float16": torch.zeros(16, 1, 4, 6)})


NAMES = st.builds(
    LatentFileName,
    stem=st.text(min_size=1).filter(lambda text: "\n" not in text),
    start=st.integers(0, 10**6),
    num_frames=st.integers(1, 2000),
    size=st.tuples(st.integers(1, 20000), st.integers(1, 20000)),
)


@given(NAMES)
def test_names_of_files_of_latents_go_there_and_back(name):
    assert LatentFileName.parse(str(name)) == name
    assert not is_text_file(str(name))


def test_names_are_as_documented():
    name = LatentFileName(stem="my_clip", start=8, num_frames=49, size=(720, 480))
    assert str(name) == "my_clip_00008-049_0720x0480_cvx.safetensors"
    assert text_file_name("my_clip") == "my_clip_cvx_te.safetensors"
    found, texts = cache(), locate_texts(CogVideoXCacheText())
    for other in ("a_00008-049-0000_0720x0480_fp.safetensors", "a_cvx.safetensors", "x.mp4"):
        assert not found.is_own(other)
        assert not texts.is_own(other)
    assert found.is_own(str(name))
    assert not found.is_own(text_file_name("a"))
    assert texts.is_own(text_file_name("a"))
    assert not texts.is_own(str(name))


@pytest.mark.parametrize(
    ("model", "fps", "step", "size"),
    [("2b", 8, 8, (720, 480)), ("1.5-5b", 16, 16, (1360, 768)), ("1.5-5b-i2v", 16, 16, (1360, 768))],
)
def test_clips_follow_the_generation_of_the_model(model, fps, step, size):
    rule = cache(model=model, vae=ASSETS / "vae").rule(DATASET)
    assert (rule.fps, rule.frame_step, rule.default_size, rule.size_step) == (fps, step, size, 16)
    assert set(rule.kinds) == {"image", "video"}


@pytest.mark.parametrize(("model", "dtype"), [("2b", "float16"), ("5b", "bfloat16"), ("1.5-5b", "bfloat16")])
def test_latents_are_stored_in_the_released_number_format(model, dtype):
    one = clip(9)
    file = encode_one(
        cache(model=model, vae=ASSETS / "vae", posterior="moments", **FIRST_FRAME), one, frames_of(one)
    )
    assert file.tensors.keys() == {
        *(f"moments_3x4x6_{dtype}", f"image_moments_1x4x6_{dtype}", "first_frame_pixels")
    }


@pytest.mark.parametrize(
    "keys",
    [
        {"control_directory": "poses"},
        {"multiple_target": True},
        {"no_resize_control": True},
        {"control_resolution": (64, 64)},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_keys_of_a_data_set_that_mean_nothing_here_are_refused(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        cache().rule(replace(DATASET, **keys))


@pytest.mark.parametrize(
    ("model", "wrong", "message"),
    [
        ("5b", clip(16, (720, 480)), "Use 9 or 17"),
        ("1.5-5b", clip(25, (720, 480)), "Use 17 or 33"),
        ("5b", clip(17, (720, 488)), "multiple of 16"),
        ("5b-i2v", clip(17, (480, 720)), "table of positions"),
        ("5b-i2v", clip(57, (720, 480)), "Use 49 or fewer"),
        ("5b", replace(clip(), source=replace(clip().source, controls=("a.png", "b.png"))), "2 pictures"),
    ],
    ids=("length", "length of 1.5", "size", "size of a table", "length of a table", "pictures"),
)
def test_clips_that_the_model_cannot_read_are_refused(model, wrong, message):
    with pytest.raises(ConfigError, match=message):
        cache(model=model, vae=ASSETS / "vae").entries(wrong, DATASET)


def test_the_chunk_of_the_norms_is_fixed():
    with pytest.raises(ConfigError, match="vae_chunk"):
        cache(execution=ExecutionConfig(vae_chunk=4))


def test_only_what_counts_changes_the_facts():
    same = cache(posterior="mean", seed=3).facts(DATASET)
    assert same == cache(posterior="mean").facts(DATASET)
    others = [
        {"posterior": "sample"},
        {"posterior": "sample", "seed": 3},
        {"posterior": "moments"},
        {"posterior": "mean", "vae_chunk": "whole"},
        {"posterior": "mean", "first_frame": "pixels"},
    ]
    facts = [str(cache(**values).facts(DATASET)) for values in others]
    assert len({str(same), *facts}) == 6


@pytest.fixture
def part_of_a_model(small_model, tmp_path: Path):
    """A folder with what the denoiser is, and of the parts only those named."""

    def make(*parts: str) -> str:
        for part in parts:
            (tmp_path / part).symlink_to(small_model("cogvideox") / part)
        write_json(tmp_path / "transformer" / "config.json", TINY_TRANSFORMER.to_json("T"))
        return str(tmp_path)

    return make


def test_clips_need_no_text_encoder(part_of_a_model):
    model = part_of_a_model("vae")
    assert cache(model=model).rule(DATASET).fps == 8
    with pytest.raises(CheckpointError, match="text_encoder"):
        locate_texts(CogVideoXCacheText(model=model))


def test_captions_need_no_autoencoder(part_of_a_model):
    model = part_of_a_model("text_encoder", "tokenizer")
    assert locate_texts(CogVideoXCacheText(model=model)).max_tokens == 64
    with pytest.raises(CheckpointError, match="vae"):
        cache(model=model)


def test_captions_become_the_features_that_generation_reads():
    texts = locate_texts(CogVideoXCacheText())
    captions = ["", "a red ball rolls over the floor"]
    rows = texts.open().encode(captions)
    expected = texts.parts.text.encode(captions, 64, device="cpu", dtype=torch.float32)
    reader = load_family("cogvideox").caching.reader(CogVideoXCacheLatents(), DATASET)
    for row, features in zip(rows, expected, strict=True):
        assert list(row) == ["prompt_embeds_float16"]
        assert torch.equal(reader.read_text(load(save(dict(row))))["prompt_embeds"], features.half())
    assert texts.metadata("a red ball")["caption1"] == "a red ball"


def test_captions_are_as_long_as_the_model_says_or_the_user():
    long = "a red ball rolls " * 40
    texts = locate_texts(CogVideoXCacheText(text_tokens=16))
    assert texts.max_tokens == 16
    assert texts.count_tokens(long) > 16 > texts.count_tokens("a red ball") > 1
    (row,) = texts.open().encode([long])
    assert row["prompt_embeds_float16"].shape == (16, 64)
    source = clip().source
    assert texts.entry(source).num_bytes == pytest.approx(len(save(dict(row))), abs=1024)
    assert texts.facts() != locate_texts(CogVideoXCacheText()).facts()
