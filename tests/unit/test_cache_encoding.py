"""Orders to files in one process: what is wrong with an item costs that item."""

import threading
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from reelwright import families
from reelwright.core.errors import ConfigError, FileError
from reelwright.data.cache_folder import CacheFolder
from reelwright.workflows.caching import encoding, reading
from reelwright.workflows.caching.encoding import encode_order, encode_orders
from reelwright.workflows.caching.orders import ItemDone, ItemFailed
from reelwright.workflows.caching.reading import FramesAgain, FramesAhead

from .cache_orders import CHUNK, DrawnFamily, item, order, readers


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[DrawnFamily]:
    """The only family there is, and clips of two chunks."""
    family = DrawnFamily()
    caching = SimpleNamespace(locate_latents=lambda _: family, locate_texts=lambda _: family)
    monkeypatch.setattr(families, "load", lambda _: SimpleNamespace(caching=caching))
    monkeypatch.setattr(reading, "read_clip", lambda _: iter([CHUNK, CHUNK]))
    encoding.forget_networks()
    yield family
    encoding.forget_networks()


def failures(outcomes) -> dict[str, str]:
    return {each.item.name: each.message for each in outcomes if isinstance(each, ItemFailed)}


def done(outcomes) -> list[str]:
    return [each.item.name for each in outcomes if isinstance(each, ItemDone)]


def test_every_item_becomes_its_file_with_its_fingerprint(drawn, tmp_path):
    items = [item(name, tmp_path) for name in "abcde"]
    outcomes = list(encode_order(order(items, batch_size=2)))
    assert done(outcomes) == list("abcde")
    assert drawn.batches == [["a", "b"], ["c", "d"], ["e"]]
    folder = CacheFolder(str(tmp_path))
    assert [folder.fingerprint(f"{name}.safetensors") for name in "abcde"] == [f"of {n}" for n in "abcde"]
    assert all(each.seconds > 0 and each.peak_memory > 0 for each in outcomes)


def test_networks_are_loaded_once_for_many_orders(drawn, tmp_path):
    list(encode_orders(order([item(name, tmp_path)]) for name in "abc"))
    list(encode_order(order([item("d", tmp_path)])))
    assert drawn.num_opened == 1


def test_a_clip_that_cannot_be_read_costs_only_itself(drawn, tmp_path, monkeypatch):
    def read(clip):
        yield CHUNK
        if clip.source.stem == "b":
            raise FileError("b: is cut short.")
        yield CHUNK

    monkeypatch.setattr(reading, "read_clip", read)
    outcomes = list(encode_order(order([item(name, tmp_path) for name in "abcd"], batch_size=2)))
    assert failures(outcomes) == {"b": "b: is cut short."}
    assert done(outcomes) == ["a", "c", "d"]


def test_a_batch_that_does_not_fit_into_memory_is_encoded_one_by_one(drawn, tmp_path):
    def trouble(names):
        if len(names) > 1 or names == ["c"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    drawn.trouble = trouble
    outcomes = list(encode_order(order([item(name, tmp_path) for name in "abc"], batch_size=3)))
    assert done(outcomes) == ["a", "b"]
    assert "--execution.tiling" in failures(outcomes)["c"]


def test_memory_of_the_processor_counts_as_memory_too(drawn, tmp_path):
    def trouble(names):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    drawn.trouble = trouble
    assert "--execution.tiling" in failures(encode_order(order([item("a", tmp_path)])))["a"]


def test_captions_of_one_text_are_encoded_once(drawn, tmp_path):
    captions = ["red", "blue", "red", "red", "green", "blue"]
    items = [item(f"{number}", tmp_path, caption) for number, caption in enumerate(captions)]
    outcomes = list(encode_order(order(items, kind="text", batch_size=2)))
    assert done(outcomes) == [one.name for one in items]
    assert sorted(caption for batch in drawn.batches for caption in batch) == ["blue", "green", "red"]
    for one in items:
        with safe_open(tmp_path / one.entries[0].name, "pt") as file:
            assert file.metadata()["caption"] == one.caption
            assert file.get_tensor("features").item() == len(one.caption)


def test_a_caption_that_fails_costs_only_itself(drawn, tmp_path):
    def trouble(names):
        if "bad" in names:
            raise ValueError("no tokens")

    drawn.trouble = trouble
    items = [item(caption, tmp_path, caption) for caption in ("one", "bad", "two")]
    outcomes = list(encode_order(order(items, kind="text", batch_size=3)))
    assert (done(outcomes), failures(outcomes)) == (["one", "two"], {"bad": "ValueError: no tokens"})


def test_a_file_of_another_name_than_planned_is_not_written(drawn, tmp_path):
    drawn.file_name = "other.safetensors"
    assert "other.safetensors" in failures(encode_order(order([item("a", tmp_path)])))["a"]
    assert list(tmp_path.glob("*.safetensors")) == []


def test_numbers_that_are_none_cost_their_clip_only(drawn, tmp_path, monkeypatch):
    made = drawn._made
    monkeypatch.setattr(
        drawn, "_made", lambda one: made(one) if one.clip.source.stem == "a" else _not_a_number(made(one))
    )
    outcomes = list(encode_order(order([item(name, tmp_path) for name in "ab"], batch_size=2)))
    assert done(outcomes) == ["a"]
    assert "NaN" in failures(outcomes)["b"]


def _not_a_number(files):
    files[0].tensors["latents"].fill_(float("nan"))
    return files


def test_a_folder_that_takes_no_files_ends_the_run(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    outcomes = encode_order(order([item(name, tmp_path / "file") for name in "ab"]))
    with pytest.raises(FileError, match="A file stands where a folder is needed"):
        list(outcomes)


def test_networks_that_cannot_be_loaded_end_the_run(drawn, tmp_path, monkeypatch):
    def refuse():
        raise ConfigError("no such model")

    monkeypatch.setattr(drawn, "open", refuse)
    with pytest.raises(ConfigError, match="no such model"):
        list(encode_order(order([item("a", tmp_path)])))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_interrupt_passes_through_and_stops_the_reading(batch_size, drawn, tmp_path, monkeypatch):
    def read_for_ever(clip):
        while True:
            yield CHUNK

    def trouble(names):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read_clip", read_for_ever)
    drawn.trouble = trouble
    items = [item(name, tmp_path) for name in "abcdefgh"]
    outcomes = encode_order(order(items, batch_size=batch_size))
    with closing(outcomes), pytest.raises(KeyboardInterrupt):
        next(outcomes)
    for thread in readers():
        thread.join(10)
    assert readers() == []


def test_a_clip_is_read_no_further_ahead_than_there_is_room(monkeypatch):
    num_taken = 0
    ahead: list[int] = []
    is_full = threading.Event()

    def read(clip):
        for number in range(1, 21):
            ahead.append(number - num_taken)
            if number == 4:
                is_full.set()
            yield CHUNK

    monkeypatch.setattr(reading, "read_clip", read)
    with closing(FramesAhead(item("a", "").clip, max_bytes=3 * CHUNK.nbytes)) as frames:
        assert is_full.wait(60)
        for _ in frames:
            num_taken += 1
    assert (num_taken, len(ahead)) == (20, 20)
    assert max(ahead) <= 5  # room for three, one in the hand of the reader and one of the taker


def test_a_clip_is_read_anew_each_time_it_is_asked_for(monkeypatch):
    def read(clip):
        for number in range(5):
            yield CHUNK + number

    monkeypatch.setattr(reading, "read_clip", read)
    with closing(FramesAgain(item("a", "").clip, max_bytes=CHUNK.nbytes)) as frames:
        assert [int(chunk.max()) for chunk in frames()] == [0, 1, 2, 3, 4]
        assert int(next(frames()).max()) == 0  # and left there: an encoder may not need all of a clip
        assert [int(chunk.max()) for chunk in frames()] == [0, 1, 2, 3, 4]
    for thread in readers():
        thread.join(60)
    assert readers() == []


def test_the_next_clips_are_read_while_a_batch_is_encoded(drawn, tmp_path, monkeypatch):
    started: list[str] = []
    all_started = threading.Event()

    def read(clip):
        started.append(clip.source.stem)
        if len(started) == 4:
            all_started.set()
        yield CHUNK

    def trouble(names):
        assert names != ["a", "b"] or all_started.wait(60)

    drawn.trouble = trouble
    monkeypatch.setattr(reading, "read_clip", read)
    outcomes = encode_orders(
        order([item(name, tmp_path) for name in pair], batch_size=2) for pair in ("ab", "cd")
    )
    assert done(outcomes) == list("abcd")
    assert sorted(started) == list("abcd")


def test_clips_that_are_taken_in_step_arrive_whatever_their_size(drawn, tmp_path, monkeypatch):
    big = torch.zeros(1, 512, 512, 3, dtype=torch.uint8)
    monkeypatch.setattr(reading, "_FRAMES_AHEAD_BYTES", big.nbytes)
    monkeypatch.setattr(reading, "read_clip", lambda clip: iter([big] * 6))
    lengths: list[int] = []

    def encode(batch):
        lengths.append(sum(1 for _ in zip(*(one.chunks() for one in batch), strict=True)))
        return [drawn._made(one) for one in batch]

    monkeypatch.setattr(drawn, "_made", lambda one: [_file_of(one)])
    monkeypatch.setattr(drawn, "encode", encode)
    items = [item(name, tmp_path) for name in "abcdef"]
    assert done(encode_order(order(items, batch_size=3))) == list("abcdef")
    assert lengths == [6, 6]


def _file_of(one):
    name = f"{one.clip.source.stem}.safetensors"
    return encoding.CacheFile(name=name, tensors={"latents": torch.zeros(1)}, metadata={})
