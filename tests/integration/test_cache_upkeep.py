"""Looking after caches from the command line: what is wrong is told, what is not ours stays."""

import re
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from reelwright.core.locations import stamp
from reelwright.data.cache_folder import CacheFolder
from reelwright.data.cache_index import IndexRow, index_name, read_index, write_index
from reelwright.protocols.caching import CacheFile

COUNT = 5
LATENTS, TEXT = "cogvideox-latents", "cogvideox-text"


def latents_name(number: int) -> str:
    return f"clip_{number}_00000-009_0064x0048_cvx.safetensors"


def text_name(number: int) -> str:
    return f"clip_{number}_cvx_te.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    """A data set whose cache is beside its clips, as `cache latents` and `cache text` leave it."""
    clips = tmp_path / "clips"
    clips.mkdir()
    (tmp_path / "data.toml").write_text(
        '[[datasets]]\nresolution = 64\nvideo_directory = "clips"\ncaption_extension = ".txt"\n'
    )
    folder = CacheFolder(str(clips))
    rows: dict[str, list[IndexRow]] = {LATENTS: [], TEXT: []}
    for number in range(COUNT):
        latents = {"latents_3x6x8_float16": torch.full((4, 3, 6, 8), float(number)).half()}
        text = {"prompt_embeds_float32": torch.full((7, 5), float(number))}
        for kind, name, tensors, suffix in (
            (LATENTS, latents_name(number), latents, ".mp4"),
            (TEXT, text_name(number), text, ".txt"),
        ):
            source = clips / f"clip_{number}{suffix}"
            source.write_text(f"source {number}")
            fingerprint = f"{kind} {number}"
            folder.write(CacheFile(name=name, tensors=tensors, metadata={}), fingerprint)
            rows[kind].append(
                IndexRow(
                    file=name,
                    fingerprint=fingerprint,
                    group="64x48" if kind == LATENTS else "",
                    stem=f"clip_{number}",
                    source=str(source),
                    source_stamp=stamp(str(source)),
                )
            )
    for kind, listed in rows.items():
        write_index(folder, kind, {"origin": str(clips), "facts": f'{{"form": "{kind}"}}'}, listed)
    return folder


@pytest.fixture
def upkeep(reelwright):
    def run(verb: str, *words: str, code: int = 0):
        outcome = reelwright("cache", verb, "cogvideox", "--dataset", "data.toml", *words, "--json")
        assert outcome.code == code, outcome.err
        return outcome

    return run


def told(outcome, kind: str, key: str) -> list:
    return [event[key] for event in outcome.events if event["event"] == kind]


def state_of(folder: CacheFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder.location).iterdir())}


def remake(place: Path, tensors: dict[str, torch.Tensor], fingerprint: str) -> None:
    CacheFolder(str(place.parent)).write(
        CacheFile(name=place.name, tensors=tensors, metadata={}), fingerprint
    )


def spoil(kind: str, clips: Path) -> None:
    """Something that can become of the files of clip 2."""
    place, other = clips / latents_name(2), clips / latents_name(3)
    content, mine = place.read_bytes(), load_file(place)
    match kind:
        case "bit":
            place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            place.write_bytes(content[:-1])
        case "swapped":
            place.write_bytes(other.read_bytes())
        case "foreign":
            save_file(mine, place)
        case "nan":
            save_file(
                {"prompt_embeds_float32": torch.full((7, 5), float("nan"))},
                clips / text_name(2),
                {"reelwright_fingerprint": f"{TEXT} 2"},
            )
        case "shape":
            remake(place, {"latents_3x6x8_float16": torch.ones(4, 3, 6, 9).half()}, f"{LATENTS} 2")
        case "dtype":
            remake(place, {"moments_3x6x8_bfloat16": torch.ones(4, 3, 6, 8)}, f"{LATENTS} 2")
        case "missing":
            (clips / text_name(2)).unlink()
        case "source":
            (clips / "clip_2.txt").write_text("another caption")


def test_a_sound_cache_is_verified_and_left_as_it_is(folder, upkeep):
    before = state_of(folder)
    (facts,) = told(upkeep("verify"), "facts", "facts")
    assert facts == {"files": "10", "problems": "0", "removed": "0"}
    assert state_of(folder) == before


@pytest.mark.parametrize(
    ("kind", "said", "is_removed"),
    [
        ("bit", "damaged", True),
        ("cut", "cut short or damaged", True),
        ("swapped", "another file", True),
        ("foreign", "another file", True),
        ("nan", "35 of 35 values of prompt_embeds_float32 are NaN", True),
        ("shape", r"latents_3x6x8_float16 has the shape \[4, 3, 6, 9\]", True),
        ("dtype", "moments_3x6x8_bfloat16 is float32", True),
        ("missing", "no such file", False),
        ("source", r"clip_2\.txt, which it was made of, has changed", False),
    ],
)
def test_whatever_is_wrong_is_told_and_repaired_where_asked(folder, upkeep, kind, said, is_removed):
    spoil(kind, Path(folder.location))
    before = state_of(folder)
    outcome = upkeep("verify", code=1)
    (place,), (message,) = (told(outcome, "item_finding", key) for key in ("item", "message"))
    assert "clip_2" in place and re.search(said, message), message
    assert ("--repair" in outcome.err) is is_removed
    assert state_of(folder) == before
    outcome = upkeep("verify", "--repair", code=1)
    (facts,) = told(outcome, "facts", "facts")
    assert facts == {"files": "10", "problems": "1", "removed": str(int(is_removed))}
    gone = before.keys() - state_of(folder).keys()
    assert len(gone) == is_removed and all("clip_2" in name for name in gone)


def test_a_damaged_index_is_told(folder, upkeep):
    index = Path(folder.location) / index_name(LATENTS)
    content = index.read_bytes()
    index.write_bytes(content.replace(b"clip_2_00000", b"clip_X_00000"))
    (message,) = told(upkeep("verify", code=1), "item_finding", "message")
    assert "index is damaged" in message
    index.write_bytes(content[:5000])
    assert "index is damaged" in upkeep("verify", code=1).err


def test_many_problems_are_counted_and_the_message_stays_short(folder, upkeep):
    rows = [IndexRow(file=latents_name(n), fingerprint="", stem=f"clip_{n}") for n in range(100, 150)]
    write_index(folder, LATENTS, {}, rows)
    outcome = upkeep("verify", code=1)
    assert len(told(outcome, "item_finding", "message")) == 50
    assert "Problems: 50" in outcome.err and outcome.err.count("\n") == 1


def test_a_file_of_no_item_is_told_though_it_is_no_problem(folder, upkeep):
    Path(folder.place(latents_name(77))).write_bytes(b"")
    (notice,) = told(upkeep("verify"), "notice", "message")
    assert latents_name(77) in notice and "cache prune" in notice


def test_only_files_of_no_item_are_pruned_and_first_told(folder, upkeep):
    clips = Path(folder.location)
    strangers = {latents_name(77), text_name(77), f".{'0' * 12}.safetensors"}
    for name in strangers:
        (clips / name).write_bytes((clips / latents_name(0)).read_bytes())
    others = ["model.safetensors", "clip_77_0064x0048_fp.safetensors", "clip_77_cvx.txt", "clip_77.mp4"]
    for name in others:
        (clips / name).write_text("mine")
    before = state_of(folder)
    outcome = upkeep("prune", "--dry-run")
    assert sum("would be removed" in note for note in told(outcome, "notice", "message")) == 2
    assert state_of(folder).keys() - before.keys() <= {f".reelwright-{kind}.lock" for kind in (LATENTS, TEXT)}
    upkeep("prune")
    left = state_of(folder)
    assert before.keys() - left.keys() == strangers
    assert all(left[name] == before[name] for name in before.keys() - strangers)
    (facts,) = told(upkeep("verify"), "facts", "facts")
    assert facts["problems"] == "0"


def test_files_of_clips_that_are_gone_are_pruned_with_their_rows(folder, upkeep):
    clips = Path(folder.location)
    (clips / "clip_1.mp4").unlink()
    (clips / "clip_1.txt").unlink()
    before = state_of(folder)
    upkeep("prune", "--dry-run")
    assert all(state_of(folder)[name] == content for name, content in before.items())
    upkeep("prune")
    assert before.keys() - state_of(folder).keys() == {latents_name(1), text_name(1)}
    with read_index(folder, LATENTS) as index:
        assert [row.stem for row in index.rows()] == ["clip_0", "clip_2", "clip_3", "clip_4"]
        assert index.identity["origin"] == str(clips)
    upkeep("verify")


def test_nothing_is_pruned_where_all_sources_are_gone(folder, upkeep):
    clips = Path(folder.location)
    for path in [*clips.glob("*.mp4"), *clips.glob("*.txt")]:
        path.unlink()
    before = {name: content for name, content in state_of(folder).items() if not name.endswith(".lock")}
    outcome = upkeep("prune")
    assert sum("all sources are gone" in note for note in told(outcome, "notice", "message")) == 2
    assert all(state_of(folder)[name] == content for name, content in before.items())
    upkeep("verify")


def test_a_folder_in_which_another_run_encodes_is_left_alone(folder, upkeep):
    with FileLock(Path(folder.location) / f".reelwright-{TEXT}.lock"):
        assert "another run" in upkeep("prune", code=1).err
        assert "another run" in upkeep("verify", "--repair", code=1).err
        upkeep("verify")


def test_what_is_there_is_told(folder, upkeep):
    Path(folder.place(text_name(77))).write_bytes(b"")
    Path(folder.place(latents_name(3))).unlink()
    latents, text = told(upkeep("stats"), "facts", "facts")
    assert (latents["kind"], latents["files"], latents["training items"]) == (LATENTS, "5", "5")
    assert latents["group 64x48"] == "5 files, 5 training items"
    assert latents["missing files"].startswith("1,")
    assert latents["made with form"] == LATENTS
    assert latents["made with origin"] == folder.location
    assert "files of no item" not in latents and text["files of no item"].startswith("1,")
    assert {"size", "written"} <= text.keys()


def test_a_data_set_without_a_cache_names_the_command(tmp_path, upkeep):
    (tmp_path / "clips").mkdir()
    (tmp_path / "data.toml").write_text(
        '[[datasets]]\nvideo_directory = "clips"\ncaption_extension = ".txt"\n'
    )
    for verb in ("verify", "prune", "stats"):
        assert "reelwright cache latents cogvideox" in upkeep(verb, code=1).err
