"""A file of data sets says the same in TOML and JSON, and every mistake in it is named at once."""

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import tomli_w
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.errors import ConfigError, UserError
from reelwright.data.dataset_file import read_dataset_file
from reelwright.protocols.datasets import DatasetConfig


@dataclass(frozen=True, kw_only=True)
class SectionKeys:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    fp_latent_window_size: Annotated[int, Ge(1)] = 9
    fp_1f_clean_indices: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NoKeys:
    pass


FAMILIES = {"sections": SectionKeys, "plain": NoKeys}
SILENT = {"sections": SectionKeys(), "plain": NoKeys()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(content: dict[str, Any] | str, **overrides: object) -> tuple[DatasetConfig, ...]:
    path = Path("data.toml")
    path.write_text(content if isinstance(content, str) else tomli_w.dumps(content), encoding="utf-8")
    return read_dataset_file(path, FAMILIES, overrides).datasets


def read_one(
    entry: dict[str, Any], general: dict[str, Any] | None = None, **overrides: object
) -> DatasetConfig:
    (dataset,) = read(
        {"general": general or {}, "datasets": [{"video_directory": "clips", **entry}]}, **overrides
    )
    return dataset


def problems(content: dict[str, Any] | str, **overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(content, **overrides)
    return str(caught.value).splitlines()


def problems_of(entry: dict[str, Any], source: str = "video_directory") -> list[str]:
    lines = problems({"datasets": [{source: "clips", **entry}]})
    assert all(line.startswith("data.toml: [[datasets]] 1: ") for line in lines)
    return [line.removeprefix("data.toml: [[datasets]] 1: ") for line in lines]


def test_the_file_of_the_guide_is_read_as_it_is(folder: Path):
    text = """
    # resolution, caption_extension, batch_size, num_repeats, enable_bucket for all data sets
    [general]
    resolution = [960, 544]
    caption_extension = ".txt"
    batch_size = 1
    enable_bucket = true
    bucket_no_upscale = false

    [[datasets]]
    video_directory = "videos"
    cache_directory = "cache"
    target_frames = [1, 25, 45]
    frame_extraction = "full"
    max_frames = 721
    source_fps = 30.0

    [[datasets]]
    image_jsonl_file = "images.jsonl"
    cache_directory = "cache-of-images"
    fp_1f_clean_indices = [0, 10]
    """
    clips, pictures = read(text)
    shared = {"resolution": (960, 544), "enable_bucket": True}
    assert clips == DatasetConfig(
        **shared,
        video_directory="videos",
        cache_directory="cache",
        target_frames=(1, 25, 45),
        frame_extraction="full",
        max_frames=721,
        source_fps=30.0,
        family_keys=SILENT,
    )
    assert pictures == DatasetConfig(
        **shared,
        image_jsonl_file="images.jsonl",
        cache_directory="cache-of-images",
        family_keys={"sections": SectionKeys(fp_1f_clean_indices=(0, 10)), "plain": NoKeys()},
    )


def test_a_data_set_goes_over_general_over_the_command_line_over_the_default(folder: Path):
    assert read_one({}).batch_size == 1
    assert read_one({}, batch_size=2).batch_size == 2
    assert read_one({}, {"batch_size": 3}, batch_size=2).batch_size == 3
    assert read_one({"batch_size": 4}, {"batch_size": 3}, batch_size=2).batch_size == 4
    assert read_one({"batch_size": 1}, {"batch_size": 3}, batch_size=2).batch_size == 1


def test_flags_that_are_no_keys_of_data_sets_are_left_alone(folder: Path):
    assert read_one({}, steps=30, batch_size=None, num_workers=3) == read_one({})


def test_a_wrong_flag_is_named_as_one(folder: Path):
    lines = problems({"datasets": [{"folder": "x"}]}, batch_size=0)
    assert lines == ["command line: batch_size: 0 is too small. Use 1 or more."]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"resolution": 640}, {"resolution": (640, 640)}),
        ({"resolution": [640, 480]}, {"resolution": (640, 480)}),
        ({"target_frames": 37}, {"target_frames": (37,)}),
        ({"target_frames": [73, 37, 73]}, {"target_frames": (37, 73)}),
        ({"source_fps": 30}, {"source_fps": 30.0}),
        ({"caption_extension": "caption"}, {"caption_extension": ".caption"}),
        ({"num-repeats": 3}, {"num_repeats": 3}),
        ({}, {"caption_extension": ".txt"}),
    ],
    ids=str,
)
def test_short_forms_mean_the_same_as_long_ones(folder: Path, said, meant):
    assert read_one(said) == replace(read_one({}), **meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"flux_kontext_no_resize_control": True}, {"no_resize_control": True}),
        ({"qwen_image_edit_no_resize_control": True}, {"no_resize_control": True}),
        ({"qwen_image_edit_control_resolution": 512}, {"control_resolution": (512, 512)}),
    ],
    ids=str,
)
def test_deprecated_names_are_read(folder: Path, said, meant):
    (dataset,) = read({"datasets": [{"image_directory": "pictures", **said}]})
    assert dataset == DatasetConfig(image_directory="pictures", family_keys=SILENT, **meant)


def test_a_key_under_two_names_is_refused(folder: Path):
    assert problems_of(
        {"no_resize_control": True, "flux_kontext_no_resize_control": False}, "image_directory"
    ) == ["flux_kontext_no_resize_control: given twice. It is the same as no_resize_control. Keep one."]
    assert problems_of({"batch_size": 1, "batch-size": 2}) == [
        "batch-size: given twice. It is the same as batch_size. Keep one."
    ]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"batch_sise": 1}, "batch_sise: unknown key. Did you mean batch_size?"),
        ({"family_keys": {}}, "family_keys: unknown key."),
        ({"fp_latent_window": 9}, "fp_latent_window: unknown key. Did you mean fp_latent_window_size?"),
        ({"fp_latent_window_size": 0}, "fp_latent_window_size: 0 is too small. Use 1 or more."),
        ({"batch_size": 0}, "batch_size: 0 is too small. Use 1 or more."),
        ({"batch_size": "2"}, "batch_size: '2' is not a whole number."),
        ({"enable_bucket": 1}, "enable_bucket: 1 is not true or false."),
        ({"resolution": [640]}, "resolution: [640] is no size. Write one number, or [width, height]."),
        ({"resolution": 8}, "resolution: 8 is too small. Use 16 or more."),
        ({"resolution": "640"}, "resolution: '640' is not a list."),
        ({"target_frames": [0]}, "target_frames: 0 is too small. Use 1 or more."),
        ({"source_fps": float("nan")}, "source_fps: nan is not finite. Use a number."),
        ({"source_fps": 0}, "source_fps: 0 is too small. Use more than 0.0."),
        ({"frame_extraction": "hed"}, "frame_extraction: 'hed' is not one of head, chunk"),
        ({"caption_extension": ""}, "caption_extension: '' is no file extension. Write it as .txt."),
        ({"caption_extension": "../x"}, "caption_extension: '../x' is no file extension."),
        ({"bucket_no_upscale": True}, "bucket_no_upscale: has no meaning without buckets. Add enable_bucket"),
        ({"frame_extraction": "head"}, "target_frames: is missing, and frame_extraction head cuts clips"),
        ({"frame_extraction": "longest"}, "target_frames: is missing, and frame_extraction longest cuts"),
        ({"folder": "x"}, "video_directory and folder: are two data sets. Give each its own [[datasets]]."),
        ({"control_resolution": 512}, "control_resolution: is for pictures, which video_directory does not"),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_file_entry_key_and_remedy(folder: Path, entry, problem):
    (line,) = problems_of(entry)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("source", "entry", "problem"),
    [
        (
            "image_directory",
            {"target_frames": [1]},
            "target_frames: is for clips, which image_directory does",
        ),
        (
            "image_directory",
            {"source_fps": 30},
            "source_fps: is for clips, which image_directory does not hold.",
        ),
        ("image_directory", {"multiple_target": True}, "multiple_target: no model here trains on several"),
        (
            "video_jsonl_file",
            {},
            "cache_directory: is missing. The lines of a video_jsonl_file may name files",
        ),
        ("image_jsonl_file", {}, "cache_directory: is missing."),
        (
            "video_jsonl_file",
            {"cache_directory": "c", "control_directory": "d"},
            "control_directory: goes with directories. Give control_path in the lines of the JSONL file.",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_with_the_source_is_refused(folder: Path, source, entry, problem):
    (line,) = problems_of(entry, source)
    assert line.startswith(problem)


def test_keys_of_single_data_sets_are_refused_in_general(folder: Path):
    lines = problems(
        {"general": {"max_frames": 9, "fp_latent_window_size": 3}, "datasets": [{"folder": "x"}]}
    )
    assert lines == [
        "data.toml: [general]: max_frames: belongs to a single data set. Move it below [[datasets]].",
        "data.toml: [general]: fp_latent_window_size: belongs to a single data set."
        " Move it below [[datasets]].",
    ]


def test_all_mistakes_of_a_file_are_told_at_once(folder: Path):
    lines = problems(
        {
            "resolution": 640,
            "general": {"batch_size": 0},
            "datasets": [{"video_directory": "x", "max_frame": 9}, {"target_frames": "all"}],
        }
    )
    assert [line.split(". ")[0] for line in lines] == [
        "data.toml: resolution: stands outside of all tables",
        "data.toml: [general]: batch_size: 0 is too small",
        "data.toml: [[datasets]] 1: max_frame: unknown key",
        "data.toml: [[datasets]] 2: target_frames: 'all' is not a list.",
    ]


def test_each_data_set_names_one_source(folder: Path):
    lines = problems({"datasets": [{}, {"video_directory": ""}, {"folder": "x"}]})
    assert lines == [
        "data.toml: [[datasets]] 1: no data is named. Give one of image_directory, image_jsonl_file,"
        " video_directory, video_jsonl_file, folder.",
        "data.toml: [[datasets]] 2: video_directory: is empty. Name a folder or file.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "data.toml: datasets: is no list of data sets. Write [[datasets]]"),
        ("[datasets]\nfolder = 'x'", "data.toml: datasets: is no list of data sets. Write [[datasets]]"),
        ("general = 3\n[[datasets]]\nfolder='x'", "data.toml: general: is no table. Write [general] above"),
        ("[generl]\n[[datasets]]\nfolder='x'", "data.toml: generl: unknown key. Did you mean general?"),
        ("folder = x", "data.toml: is not valid TOML:"),
        ('{"datasets": [', "data.toml: is not valid JSON:"),
        ('{"datasets": [{"folder": "a", "folder": "b"}]}', "data.toml: is not valid JSON: 'folder' is given"),
        ("{}", "data.toml: datasets: is no list of data sets."),
        ('{"datasets": ' + "[" * 5000, "data.toml: is not valid JSON:"),
        ("a = " + "9" * 5000, "data.toml: is not valid TOML:"),
    ],
    ids=["empty", "single", "number", "general", "toml", "json", "twice", "braces", "deep", "digits"],
)
def test_a_broken_file_is_named(folder: Path, text: str, problem: str):
    assert problems(text)[0].startswith(problem)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("d/clips.jsonl", "Write one with [[datasets]], video_jsonl_file"),
        ("d/metadata.csv", "Give the folder: d"),
        ("d/prompts.txt", "Give the folder: d"),
        ("d/a.mp4", "Give the folder: d"),
    ],
)
def test_data_given_in_place_of_the_file_that_tells_of_them_are_known(folder: Path, name: str, advice: str):
    Path("d").mkdir()
    Path(name).write_text('{"video_path": "a.mp4"}\n')
    with pytest.raises(ConfigError) as caught:
        read_dataset_file(Path(name), FAMILIES)
    assert str(caught.value).startswith(f"{name}: is no file of data sets (TOML or JSON). {advice}")


def test_a_missing_file_names_its_neighbor(folder: Path):
    Path("dataset.toml").touch()
    with pytest.raises(
        ConfigError, match=r"datasets\.toml: there is no such file of data sets, nor folder. .*dataset\.toml"
    ):
        read_dataset_file(Path("datasets.toml"), FAMILIES)


@pytest.mark.parametrize("suffix", [".toml", ".json", ".cfg"])
def test_json_says_the_same_as_toml_and_may_have_a_byte_order_mark(folder: Path, suffix: str):
    content = {
        "general": {"resolution": 640, "enable_bucket": True},
        "datasets": [{"folder": "x", "target_frames": [37]}, {"folder": "y", "fp_latent_window_size": 4}],
    }
    path = Path(f"data{suffix}")
    texts = [json.dumps(content)] if suffix == ".json" else [json.dumps(content), tomli_w.dumps(content)]
    for text in texts:
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_dataset_file(path, FAMILIES).datasets == read(content)


def test_a_null_of_json_says_nothing(folder: Path):
    assert read('{"datasets": [{"folder": "x", "resolution": null}]}') == read(
        {"datasets": [{"folder": "x"}]}
    )


@pytest.mark.parametrize("name", ["clips", "clips.tar"])
def test_a_folder_or_tar_file_is_a_data_set_by_itself(folder: Path, name: str):
    Path("clips").mkdir()
    file = read_dataset_file(Path(name), FAMILIES, {"batch_size": 3})
    assert file.path == Path(name)
    assert file.datasets == (DatasetConfig(folder=name, batch_size=3, family_keys=SILENT),)


def test_paths_start_at_the_working_directory_or_else_beside_the_file(folder: Path):
    for place in ("here", "both", "sets/both", "sets/beside", "sets/masks"):
        Path(place).mkdir(parents=True)
    entries = [
        {"video_directory": "here", "cache_directory": "cache"},
        {"video_directory": "both", "cache_directory": "cache"},
        {"image_directory": "beside", "control_directory": "masks", "cache_directory": "cache"},
        {"video_directory": "beside", "cache_directory": str(folder / "cache")},
        {"folder": "nowhere"},
        {"folder": "s3://bucket/x", "cache_directory": "memory://cache"},
    ]
    path = Path("sets/data.toml")
    path.write_text(tomli_w.dumps({"datasets": entries}))
    found = read_dataset_file(path, {}).datasets
    assert [(each.origin, each.cache_directory) for each in found] == [
        ("here", "cache"),
        ("both", "cache"),
        (str(Path("sets/beside")), str(Path("sets/cache"))),
        (str(Path("sets/beside")), str(folder / "cache")),
        ("nowhere", None),
        ("s3://bucket/x", "memory://cache"),
    ]
    assert found[2].control_directory == str(Path("sets/masks"))


VALID = b"""
[general]
resolution = [960, 544]
caption_extension = ".txt"
[[datasets]]
video_directory = "clips"
target_frames = [1, 25]
frame_extraction = "head"
fp_latent_window_size = 9
source_fps = 30.0
"""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([*DatasetConfig.__dataclass_fields__, *SectionKeys.__dataclass_fields__, "x-y"])
mutations = st.tuples(st.integers(0, len(VALID)), st.integers(0, 9), st.binary(max_size=6))


def refuse_or_read(path: Path) -> None:
    try:
        read_dataset_file(path, FAMILIES)
    except UserError as error:
        assert str(error)


@given(content=st.binary(max_size=60) | mutations.map(lambda m: VALID[: m[0]] + m[2] + VALID[m[0] + m[1] :]))
def test_no_bytes_are_more_than_refused(tmp_path_factory, content: bytes):
    for name in ("fuzzed.toml", "fuzzed.json"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        refuse_or_read(path)


@given(general=st.dictionaries(keys, values, max_size=4), entry=st.dictionaries(keys, values, max_size=6))
def test_no_values_are_more_than_refused(tmp_path_factory, general, entry):
    path = tmp_path_factory.getbasetemp() / "fuzzed-values.json"
    path.write_text(json.dumps({"general": general, "datasets": [{"folder": "x", **entry}]}))
    refuse_or_read(path)


def test_the_valid_file_of_the_fuzzers_is_valid(folder: Path):
    Path("v.toml").write_bytes(VALID)
    assert read_dataset_file(Path("v.toml"), FAMILIES).datasets[0].target_frames == (1, 25)
    assert tomllib.loads(VALID.decode())
