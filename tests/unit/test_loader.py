"""What training is given: each item as it is kept, in order, from anywhere on, or an error with its name."""

import threading
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.locations import stamp
from reelwright.data.cache_folder import CacheFolder, fingerprint_of
from reelwright.data.cache_index import IndexRow, read_index, write_index
from reelwright.data.cached_items import CachedItems, CacheSet
from reelwright.data.loader import Loader
from reelwright.protocols.caching import CacheFile

SHARED = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


class Reader:
    """Items as a file keeps them: section `item` of `clip`, and a draw from the generator."""

    def read(self, tensors, item, generator):
        length = int(tensors["clip"][item])
        return {
            "latents": tensors["clip"][item : item + 1],
            "noise": torch.rand(1, generator=generator),
            "varlen_frames": torch.arange(length),
        }

    def read_text(self, tensors):
        return {"words": tensors["words"]}


def write_clips(folder: CacheFolder, count: int, prefix: str = "clip", group: str = "", **values) -> None:
    """Files of 1 to 3 items, of which item i of file n holds 10 n + i, and a text for each."""
    rows = []
    for n in range(count):
        num_items = 1 + n % 3
        name = f"{prefix}{n:03}_x.safetensors"
        tensors = {"clip": 10.0 * n + torch.arange(float(num_items))}
        folder.write(CacheFile(name=name, tensors=tensors, metadata={}), f"print {prefix}{n}")
        rows.append(
            IndexRow(
                **{
                    "file": name,
                    "fingerprint": f"print {prefix}{n}",
                    "group": group or f"g{n % 2}",
                    "num_items": num_items,
                    "stem": f"{prefix}{n:03}",
                    "source": f"{prefix}{n:03}.mp4",
                    **values,
                }
            )
        )
    write_index(folder, "latents", {}, rows)
    texts = [row_of_text(folder, row, number) for number, row in enumerate(rows)]
    write_index(folder, "text", {}, texts)


def row_of_text(folder: CacheFolder, row: IndexRow, number: int) -> IndexRow:
    name = f"{row.stem}_te.safetensors"
    words = torch.full((2,), float(number))
    folder.write(CacheFile(name=name, tensors={"words": words}, metadata={}), f"text of {row.stem}")
    return IndexRow(file=name, fingerprint=f"text of {row.stem}", stem=row.stem, source=f"{row.stem}.txt")


def cache_set(folder: CacheFolder, **values) -> CacheSet:
    latents, texts = read_index(folder, "latents"), read_index(folder, "text")
    return CacheSet(**{"latents": latents, "texts": texts, "reader": Reader(), **values})


@pytest.fixture
def folder(tmp_path):
    folder = CacheFolder(str(tmp_path / "cache"))
    write_clips(folder, 9)
    return folder


def contents(batches) -> list[tuple]:
    """All that a batch holds, as numbers and words."""
    return [
        (
            batch.epoch,
            batch.number,
            batch.names,
            {name: tensor.tolist() for name, tensor in batch.tensors.items()},
            {name: [tensor.tolist() for tensor in each] for name, each in batch.lists.items()},
        )
        for batch in batches
    ]


def test_an_epoch_gives_every_item_with_its_text(folder):
    items = CachedItems([cache_set(folder, batch_size=2, num_repeats=2)])
    batches = list(Loader(items, seed=3))
    assert len(batches) == len(Loader(items))
    found = Counter()
    for batch in batches:
        size = len(batch.names)
        assert (batch.tensors["latents"].shape, batch.tensors["words"].shape) == ((size, 1), (size, 2))
        for place in range(size):
            value = int(batch.tensors["latents"][place])
            number, item = divmod(value, 10)
            assert f"clip{number:03}_x.safetensors" in batch.names[place]
            assert batch.names[place].endswith(f" item {item}") == (number % 3 > 0)
            assert batch.tensors["words"][place].tolist() == [number, number]
            assert batch.group == f"g{number % 2}"
            assert len(batch.lists["frames"][place]) == value
            found[value] += 1
    assert found == {10 * n + i: 2 for n in range(9) for i in range(1 + n % 3)}


def test_the_same_seed_gives_the_same_batches_whoever_reads(folder):
    items = CachedItems([cache_set(folder, batch_size=2)])
    expected = contents(Loader(items, seed=1, num_workers=1, num_ahead=1))
    assert contents(Loader(items, seed=1, num_workers=4, num_ahead=8)) == expected
    assert contents(Loader(items, seed=2)) != expected


def test_draws_differ_between_items_repeats_epochs_and_seeds(folder):
    items = CachedItems([cache_set(folder, num_repeats=2)])
    loaders = [Loader(items, seed=seed) for seed in (0, 1)]
    draws = [float(batch.tensors["noise"]) for loader in loaders for _ in range(2) for batch in loader]
    assert len(set(draws)) == len(draws) == 2 * 2 * 2 * 18


@settings(max_examples=12, **SHARED)
@given(stop=st.integers(0, 20), num_ranks=st.integers(1, 3), ahead=st.integers(1, 5))
def test_a_run_that_is_stopped_anywhere_goes_on_as_if_it_were_not(tmp_path, stop, num_ranks, ahead):
    folder = CacheFolder(str(tmp_path))
    if not folder.names():
        write_clips(folder, 5)
    items = CachedItems([cache_set(folder, batch_size=2)])

    def loader():
        return Loader(items, seed=5, rank=num_ranks - 1, num_ranks=num_ranks, num_ahead=ahead)

    def forever(source):
        while True:
            yield from source

    expected = contents(islice(forever(loader()), 22))
    first, second = loader(), loader()
    before = contents(islice(forever(first), stop))
    second.load_state_dict(first.state_dict())
    assert before + contents(islice(forever(second), 22 - stop)) == expected


def test_a_state_holds_for_other_ranks_and_leaves_nothing_out(folder):
    items = CachedItems([cache_set(folder)])
    four = [Loader(items, rank=rank, num_ranks=4) for rank in range(4)]
    done = [batch.names for loader in four for batch in islice(loader, 3)]
    rest = []
    for rank in range(3):
        loader = Loader(items, rank=rank, num_ranks=3)
        loader.load_state_dict(four[0].state_dict())
        rest += [batch.names for batch in loader if batch.epoch == 0]
    assert set(done) | set(rest) == {batch.names for batch in Loader(items)}


def test_a_state_is_refused_where_the_order_is_another(folder):
    items = CachedItems([cache_set(folder)])
    state = Loader(items, seed=1).state_dict()
    with pytest.raises(ConfigError, match="seed"):
        Loader(items, seed=2).load_state_dict(state)
    for other in (cache_set(folder, batch_size=2), cache_set(folder, num_repeats=2)):
        with pytest.raises(ConfigError, match="other items"):
            Loader(CachedItems([other]), seed=1).load_state_dict(state)


def test_several_data_sets_are_trained_on_together_and_never_in_one_batch(tmp_path):
    folders = [CacheFolder(str(tmp_path / name)) for name in ("cats", "dogs")]
    for folder, prefix in zip(folders, ("cat", "dog"), strict=True):
        write_clips(folder, 5, prefix, group="the same")
    cats, dogs = (cache_set(folder, batch_size=size) for folder, size in zip(folders, (2, 3), strict=True))
    batches = list(Loader(CachedItems([cats, dogs])))
    names = [{"cats" if f"{folders[0].location}/" in name else "dogs" for name in b.names} for b in batches]
    assert all(len(each) == 1 for each in names)
    assert max(len(b.names) for b, each in zip(batches, names, strict=True) if each == {"cats"}) == 2
    assert max(len(b.names) for b, each in zip(batches, names, strict=True) if each == {"dogs"}) == 3
    assert sum(len(batch.names) for batch in batches) == 2 * (1 + 2 + 3 + 1 + 2)


class CountingReader(Reader):
    def __init__(self):
        self.count, self.lock, self.gate = 0, threading.Lock(), threading.Event()

    def read(self, tensors, item, generator):
        with self.lock:
            self.count += 1
        return super().read(tensors, item, generator)


def test_no_more_batches_are_read_ahead_than_may_be(folder):
    reader = CountingReader()
    items = CachedItems([cache_set(folder, reader=reader)])
    batches = iter(Loader(items, num_workers=3, num_ahead=2))
    for taken in range(1, 5):
        next(batches)
        assert reader.count <= taken + 2
    batches.close()
    assert reader.count <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def file_of(folder: CacheFolder, number: int) -> Path:
    return Path(folder.place(f"clip{number:03}_x.safetensors"))


FOREIGN_FILES = {
    "foreign": ({"clip": torch.ones(3)}, {}),
    "of another clip": ({"clip": torch.ones(3)}, {"reelwright_fingerprint": "print of another"}),
    "of other tensors": ({"other": torch.ones(3)}, {"reelwright_fingerprint": "print clip4"}),
    "of no numbers": ({"clip": torch.full((3,), float("nan"))}, {"reelwright_fingerprint": "print clip4"}),
}


def damage(kind: str, folder: CacheFolder) -> None:
    place, other = file_of(folder, 4), file_of(folder, 5)
    content = place.read_bytes()
    match kind:
        case "missing":
            place.unlink()
        case "text missing":
            Path(folder.place("clip004_te.safetensors")).unlink()
        case "empty":
            place.write_bytes(b"")
        case "cut":
            place.write_bytes(content[:-3])
        case "bit":
            place.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))
        case "swapped":
            place.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case _:
            save_file(FOREIGN_FILES[kind][0], place, FOREIGN_FILES[kind][1])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file"),
        ("text missing", r"clip004_te\.safetensors.*no such file"),
        ("empty", "damaged"),
        ("cut", "cut short"),
        ("bit", "damaged"),
        ("swapped", "another file than the one that was listed"),
        ("foreign", "another file than the one that was listed"),
        ("of another clip", "another file than the one that was listed"),
        ("of other tensors", "KeyError"),
        ("of no numbers", "NaN"),
    ],
)
def test_a_file_that_is_not_what_is_listed_is_never_trained_on(folder, kind, said):
    items = CachedItems([cache_set(folder)])
    damage(kind, folder)
    with pytest.raises(FileError, match=rf"(?s)clip00[45].*{said}.*Run the cache command again") as error:
        list(Loader(items))
    assert "clip004" in str(error.value) or kind == "swapped"
    assert str(error.value).count(folder.location) <= 2


def test_a_failure_of_any_kind_names_the_item(folder):
    class Failing(Reader):
        def read(self, tensors, item, generator):
            raise AssertionError("what nobody thought of")

    with pytest.raises(AssertionError, match="what nobody thought of") as error:
        list(Loader(CachedItems([cache_set(folder, reader=Failing())])))
    assert "clip0" in error.value.__notes__[0]


def test_caches_at_urls_give_the_same_batches(folder, tmp_path):
    pytest.importorskip("fsspec")
    remote = CacheFolder(f"memory://{tmp_path.name}/cache")
    write_clips(remote, 9)

    def batches(cache):
        # All who open a file in fsspec's memory share one position in it: so one thread.
        loader = Loader(CachedItems([cache_set(cache, batch_size=2)]), num_workers=1)
        return [[part for part in content if not isinstance(part, tuple)] for content in contents(loader)]

    assert batches(remote) == batches(folder)


def test_items_that_cannot_be_stacked_are_named(folder):
    class Growing(Reader):
        def read(self, tensors, item, generator):
            return {"latents": torch.zeros(1 + int(tensors["clip"][item]))}

    items = CachedItems([cache_set(folder, batch_size=2, reader=Growing())])
    with pytest.raises(FileError, match=r"(?s)clip.*latents is float32 \[\d+\], in .*clip.* it is"):
        list(Loader(items))


def test_a_name_of_both_latents_and_text_is_refused(folder):
    class Doubled(Reader):
        def read_text(self, tensors):
            return {"latents": tensors["words"]}

    with pytest.raises(FileError, match="latents is in its latents and in its text"):
        list(Loader(CachedItems([cache_set(folder, reader=Doubled())])))


def test_an_error_comes_at_its_batch_and_the_batches_before_it_are_given(folder):
    items = CachedItems([cache_set(folder)])
    names = [batch.names[0] for batch in Loader(items)]
    place = next(n for n, name in enumerate(names) if "clip004" in name)
    damage("missing", folder)
    loader = Loader(items, num_ahead=8)
    given = []
    with pytest.raises(FileError, match="clip004"):
        given.extend(batch.names[0] for batch in loader)
    assert place == loader.state_dict()["batches_done"]


def test_clips_without_text_are_counted_and_named(folder):
    rows = [row for row in read_index(folder, "text").rows() if row.stem not in ("clip001", "clip006")]
    write_index(folder, "text", {}, rows)
    with pytest.raises(FileError, match=r"(?s)2 of 9 .*clip001, clip006\. Run `reelwright cache text`"):
        CachedItems([cache_set(folder)])


def test_sources_that_changed_are_counted_and_named(tmp_path):
    source = tmp_path / "cat.mp4"
    source.write_bytes(b"a clip")
    folder = CacheFolder(str(tmp_path / "cache"))
    write_clips(folder, 4, source=str(source), source_stamp=stamp(str(source)))
    CachedItems([cache_set(folder)])
    source.write_bytes(b"another clip")
    with pytest.raises(FileError, match=r"(?s)4 of 4 files .*cat\.mp4.*Run the cache command again"):
        CachedItems([cache_set(folder)])
    source.unlink()
    CachedItems([cache_set(folder)])


def test_no_items_are_told_before_training(tmp_path):
    folder = CacheFolder(str(tmp_path))
    write_clips(folder, 0)
    with pytest.raises(ConfigError, match="reelwright cache latents"):
        CachedItems([cache_set(folder)])


def test_a_listed_file_of_another_program_is_read_while_it_stays_the_same(folder):
    place = file_of(folder, 0)
    save_file({"clip": torch.zeros(1)}, place)
    rows = list(read_index(folder, "latents").rows())
    rows[0] = replace(rows[0], fingerprint=fingerprint_of(*folder.read(place.name)))
    write_index(folder, "latents", {}, rows)
    items = CachedItems([cache_set(folder)])
    assert len(list(Loader(items))) == 18
    save_file({"clip": torch.ones(1)}, place)
    with pytest.raises(FileError, match="another file"):
        list(Loader(items))
