"""What each section sees, against the released arithmetic on tensors whose values are their places."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.one_frame import OneFrameOptions
from reelwright.families.framepack.sections import (
    START,
    ZERO,
    ContextSizes,
    SectionLayout,
    Slots,
    Source,
    Timeline,
    count_frames,
    count_sections_of_clip,
    decode_windows,
    fade_frames,
    frames_of_latents,
    one_frame_layout,
    section_layouts,
    section_order,
    section_paddings,
)
from reelwright.families.framepack.story_schema import count_sections

EMPTY, IMAGE = -1, -2
"""Values of the latents of zeros, and of the section's own image."""
nums_sections = st.integers(1, 60)
windows = st.integers(1, 12)
directions = st.sampled_from(["backward", "forward"])
contexts = st.builds(ContextSizes, st.integers(1, 3), st.integers(0, 4), st.integers(0, 20))


def values_of(slots: Slots | None, timeline: Timeline) -> list[int]:
    """What fills the slots, where every place of the timeline holds its own number."""
    places = list(range(timeline.num_latents))
    by_kind = {"start": lambda _: IMAGE, "zero": lambda _: EMPTY, "latent": lambda p: places[p]}
    return [by_kind[kind](position) for kind, position in slots.sources] if slots else []


def released_backward(
    timeline: Timeline, paddings: list[int], sizes: list[int]
) -> list[tuple[list[Tensor], list[Tensor]]]:
    """The released loop: a history that grows in front, of which each section reads the newest.

    Returns the index line's pieces (start, target, 1x, 2x, 4x) and the clean latents (1x, 2x, 4x).
    """
    window, found = timeline.window, []
    history = torch.full((sum(sizes),), EMPTY)
    after = torch.arange(timeline.num_latents)[timeline.num_latents - timeline.num_after :]
    history = torch.cat([after, history[len(after) :], torch.full((len(after),), EMPTY)])
    for made, padding in enumerate(paddings):
        line = torch.arange(0, 1 + padding * window + window + sum(sizes))
        start, _, target, *clean = line.split([1, padding * window, window, *sizes], dim=0)
        seen = list(history[: sum(sizes)].split(sizes, dim=0))
        seen[0] = torch.cat([torch.tensor([IMAGE]), seen[0]])
        found.append(([start, target, *clean], seen))
        first = timeline.num_before + (timeline.num_sections - 1 - made) * window
        history = torch.cat([torch.arange(first, first + window), history])
    return found


def released_forward(timeline: Timeline, sizes: list[int]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """The released loop of F1: a history that grows at the end."""
    window, found = timeline.window, []
    history = torch.cat([torch.full((sum(sizes),), EMPTY), torch.arange(timeline.num_before)])
    for section in range(timeline.num_sections):
        line = torch.arange(0, 1 + sum(sizes) + window)
        start, x4, x2, x1, target = line.split([1, *sizes[::-1], window], dim=0)
        seen_4x, seen_2x, seen_1x = history[-sum(sizes) :].split(sizes[::-1], dim=0)
        seen_1x = torch.cat([torch.tensor([IMAGE]), seen_1x])
        found.append(([start, target, x1, x2, x4], [seen_1x, seen_2x, seen_4x]))
        first = timeline.num_before + section * window
        history = torch.cat([history, torch.arange(first, first + window)])
    return found


def assert_same(
    layout: SectionLayout, timeline: Timeline, released: tuple[list[Tensor], list[Tensor]]
) -> None:
    (start, target, x1, x2, x4), seen = [[t.tolist() for t in part] for part in released]
    assert list(layout.indices) == target
    assert list(layout.clean_1x.indices) == start + x1
    assert (list(layout.clean_2x.indices) if layout.clean_2x else []) == x2
    assert (list(layout.clean_4x.indices) if layout.clean_4x else []) == x4
    groups = (layout.clean_1x, layout.clean_2x, layout.clean_4x)
    assert [values_of(group, timeline) for group in groups] == seen


@given(nums_sections, windows, st.integers(0, 30), st.integers(1, 30), contexts)
def test_backward_sections_see_what_the_released_history_holds(count, window, after, before, context):
    timeline = Timeline(num_sections=count, window=window, num_before=before, num_after=after)
    paddings = list(reversed(range(count)))
    if count > 4:
        paddings = [3] + [2] * (count - 3) + [1, 0]
    released = released_backward(timeline, paddings, list(context))
    layouts = section_layouts(timeline, "backward", context=context)
    for layout, one in zip(layouts, released, strict=True):
        assert_same(layout, timeline, one)


@given(nums_sections, windows, st.integers(1, 30), contexts)
def test_forward_sections_see_what_the_released_history_holds(count, window, before, context):
    timeline = Timeline(num_sections=count, window=window, num_before=before)
    layouts = section_layouts(timeline, "forward", context=context)
    for layout, one in zip(layouts, released_forward(timeline, list(context)), strict=True):
        assert_same(layout, timeline, one)


@pytest.mark.parametrize(
    ("padding", "target", "post", "x2", "x4"),
    [
        (0, (1, 9), 10, (11, 12), (13, 28)),
        (1, (10, 18), 19, (20, 21), (22, 37)),
        (2, (19, 27), 28, (29, 30), (31, 46)),
        (3, (28, 36), 37, (38, 39), (40, 55)),
    ],
)
def test_indices_of_the_base_model_are_the_published_table(padding, target, post, x2, x4):
    layout = section_layouts(Timeline(num_sections=4), "backward")[3 - padding]
    assert (layout.indices[0], layout.indices[-1], len(layout.indices)) == (*target, 9)
    assert layout.clean_1x.indices == (0, post)
    assert layout.clean_2x.indices == x2
    assert (layout.clean_4x.indices[0], layout.clean_4x.indices[-1], len(layout.clean_4x.indices)) == (
        *x4,
        16,
    )


def test_indices_of_f1_are_the_published_line():
    for layout in section_layouts(Timeline(num_sections=3), "forward"):
        assert layout.indices == tuple(range(20, 29))
        assert layout.clean_1x.indices == (0, 19)
        assert layout.clean_2x.indices == (17, 18)
        assert layout.clean_4x.indices == tuple(range(1, 17))


def test_training_items_of_f1_begin_with_the_first_latent_and_pad_in_front():
    first, second, *_ = section_layouts(Timeline(num_sections=2), "forward")
    assert first.clean_1x.sources == (START, Source("latent", 0))
    assert set(first.clean_2x.sources + first.clean_4x.sources) == {ZERO}
    assert second.clean_1x.sources == (START, Source("latent", 9))
    assert second.clean_2x.sources == (Source("latent", 7), Source("latent", 8))
    assert second.clean_4x.sources == (ZERO,) * 9 + tuple(Source("latent", k) for k in range(7))


def test_training_items_of_the_base_model_see_the_true_future_from_last_to_first():
    """Cutting a clip as in specs: FramePack 4.4, with a history that ground truth is prepended to."""
    clip, history, window = torch.arange(46), torch.full((19,), EMPTY), 9
    layouts = section_layouts(Timeline(num_sections=5), "backward")
    for layout, section in zip(layouts, [4, 3, 2, 1, 0], strict=True):
        target = clip[1 + section * window : 1 + (section + 1) * window]
        assert layout.section == section
        assert list(layout.positions) == target.tolist()
        assert values_of(layout.clean_1x, Timeline(num_sections=5))[1:] == history[:1].tolist()
        assert values_of(layout.clean_2x, Timeline(num_sections=5)) == history[1:3].tolist()
        assert values_of(layout.clean_4x, Timeline(num_sections=5)) == history[3:19].tolist()
        history = torch.cat([target, history])


@given(nums_sections, windows, directions, contexts, st.integers(1, 30), st.integers(0, 30))
def test_no_index_is_used_twice_and_targets_are_consecutive(count, window, direction, context, before, after):
    timeline = Timeline(num_sections=count, window=window, num_before=before, num_after=after)
    for layout in section_layouts(timeline, direction, context=context):
        groups = [group for group in (layout.clean_1x, layout.clean_2x, layout.clean_4x) if group]
        assert [len(group.indices) for group in groups] == [len(group.sources) for group in groups]
        used = [*layout.indices, *(index for group in groups for index in group.indices)]
        assert len(set(used)) == len(used) == window + 1 + sum(context)
        assert all(later == index + 1 for index, later in pairwise(layout.indices))
        assert all(list(group.indices) == sorted(group.indices) for group in groups)


@given(nums_sections, windows, directions, st.integers(1, 30), st.integers(0, 30))
def test_sections_fill_the_timeline_and_see_only_what_is_there(count, window, direction, before, after):
    timeline = Timeline(num_sections=count, window=window, num_before=before, num_after=after)
    there = {*range(before), *range(timeline.num_latents - after, timeline.num_latents)}
    layouts = section_layouts(timeline, direction)
    for layout in layouts:
        groups = (layout.clean_1x, layout.clean_2x, layout.clean_4x)
        seen = {source.position for group in groups for source in group.sources if source.kind == "latent"}
        assert seen <= there
        assert not there & {*layout.positions}
        there |= {*layout.positions}
    assert there == {*range(timeline.num_latents)}
    assert [layout.section for layout in layouts] == [*section_order(direction, count)]


def test_an_end_image_is_the_nearest_to_the_section_made_first():
    layouts = section_layouts(Timeline(num_sections=3, num_after=1), "backward")
    end = Source("latent", 28)
    assert layouts[0].clean_1x.sources == (START, end)
    assert layouts[1].clean_4x.sources[6] == end
    assert end not in layouts[2].clean_4x.sources[:15]
    assert layouts[2].clean_4x.sources[15] == end


@pytest.mark.parametrize(
    ("seconds", "count"), [(1, 1), (2, 2), (3, 2), (5, 4), (10, 8), (60, 50), (0, 1), (5.4, 4), (6.6, 6)]
)
def test_seconds_are_rounded_to_sections_as_released(seconds, count):
    assert count_sections(seconds) == count


def test_seconds_that_fall_on_a_half_go_to_the_even_number():
    assert [count_sections(seconds, 5) for seconds in (1, 1.6666666666666667, 2.3333333333333335)] == [
        2,
        2,
        4,
    ]


@given(nums_sections, windows)
def test_a_section_is_four_frames_for_each_latent(count, window):
    assert count_frames(count, window) == 4 * window * count + 1
    assert count_sections_of_clip(count_frames(count, window), window) == count
    assert count_sections_of_clip(count_frames(count, window) - 1, window) == count - 1


def test_clips_below_one_section_hold_none():
    assert [count_sections_of_clip(frames) for frames in (0, 1, 36, 37, 72, 73)] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("count", "paddings"),
    [
        (1, (0,)),
        (4, (3, 2, 1, 0)),
        (5, (3, 2, 2, 1, 0)),
        (8, (3, 2, 2, 2, 2, 2, 1, 0)),
    ],
)
def test_paddings_are_the_published_ones(count, paddings):
    assert section_paddings(count) == paddings


@given(nums_sections, st.data())
def test_fewer_paddings_than_sections_replace_the_first_ones(count, data):
    given_ones = data.draw(st.lists(st.integers(0, 9), max_size=count))
    paddings = section_paddings(count, given_ones)
    assert len(paddings) == count
    assert list(paddings[: len(given_ones)]) == given_ones
    assert paddings[len(given_ones) :] == section_paddings(count)[len(given_ones) :]
    layouts = section_layouts(Timeline(num_sections=count), "backward", paddings=given_ones)
    assert [layout.indices[0] for layout in layouts] == [1 + 9 * padding for padding in paddings]


def test_paddings_that_cannot_be_are_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"latent_paddings: 5 values for 4 sections\. Give at most 4"):
        section_paddings(4, (0, 0, 0, 0, 0))
    with pytest.raises(ConfigError, match=r"latent_paddings: 0, -1 has a negative number\. Use 0"):
        section_paddings(4, (0, -1))
    with pytest.raises(ValueError, match="forward"):
        section_layouts(Timeline(num_sections=4), "forward", paddings=(0,))


def test_a_section_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"not in 0\.\.3"):
        Timeline(num_sections=4).target(4)


def test_decode_windows_are_the_published_ones():
    backward = ((0, 19), (10, 28), (19, 37), (28, 37))
    assert decode_windows(37, "backward") == backward
    assert decode_windows(37, "forward", cut="aligned") == backward
    assert decode_windows(37, "forward") == ((0, 10), (1, 19), (10, 28), (19, 37))
    assert decode_windows(37, "forward", cut="fewest") == backward[:-1]
    assert decode_windows(19, "backward", cut="fewest") == ((0, 19),)
    assert decode_windows(25, "backward", cut="fewest") == ((0, 19), (10, 25))
    assert decode_windows(10, "backward") == decode_windows(10, "forward") == ((0, 10),)


@given(st.integers(1, 400), windows, directions, st.sampled_from(["official", "aligned", "fewest"]))
def test_decode_windows_cover_all_frames_and_overlap_by_one_fade(num_latents, window, direction, cut):
    found = decode_windows(num_latents, direction, window=window, cut=cut)
    assert found[0][0] == 0
    assert found[-1][1] == num_latents
    assert all(stop - start <= 2 * window + 1 for start, stop in found)
    joined = frames_of_latents(found[0][1])
    for (start, stop), (next_start, next_stop) in pairwise(found):
        assert next_start > start
        assert stop - next_start == window
        joined += frames_of_latents(next_stop - next_start) - fade_frames(window)
    assert joined == frames_of_latents(num_latents)


@given(nums_sections, windows)
def test_f1_is_cut_where_each_section_was_appended(count, window):
    expected = [(0, 1 + window)]
    for made in range(2, count + 1):
        total = 1 + made * window
        expected.append((total - 2 * window, total))
    assert decode_windows(1 + count * window, "forward", window=window) == tuple(expected)


@given(nums_sections, windows)
def test_the_base_model_is_cut_where_each_section_was_prepended(count, window):
    total, expected = 1 + count * window, []
    for section in reversed(range(count)):
        start = 0 if section == 0 else 1 + section * window
        expected.append((start, min(start + 2 * window + (section == 0), total)))
    assert decode_windows(total, "backward", window=window) == tuple(reversed(expected))


def test_a_plain_one_frame_edit_sees_its_control_and_a_later_latent_of_zeros():
    layout = one_frame_layout(OneFrameOptions(target_index=(9,), control_index=(0,)), 1)
    assert layout.indices == (9,)
    assert layout.positions == range(1)
    assert layout.clean_1x == Slots(indices=(0, 10), sources=(Source("control", 0), ZERO))
    assert layout.clean_2x == Slots(indices=(11, 12), sources=(ZERO,) * 2)
    assert layout.clean_4x == Slots(indices=tuple(range(13, 29)), sources=(ZERO,) * 16)
    assert layout == one_frame_layout(OneFrameOptions(), 1)


def test_the_recipe_of_two_controls_keeps_both_before_the_zeros():
    layout = one_frame_layout(OneFrameOptions(target_index=(9,), control_index=(0, 1)), 2)
    assert layout.clean_1x == Slots(
        indices=(0, 1, 10), sources=(Source("control", 0), Source("control", 1), ZERO)
    )


def test_the_recipe_of_two_controls_around_the_target_leaves_out_all_zeros():
    options = OneFrameOptions(target_index=(1,), control_index=(0, 10), no_post=True, no_2x=True, no_4x=True)
    layout = one_frame_layout(options, 2)
    assert layout.indices == (1,)
    assert layout.clean_1x == Slots(indices=(0, 10), sources=(Source("control", 0), Source("control", 1)))
    assert layout.clean_2x is None
    assert layout.clean_4x is None


def test_several_frames_are_made_at_their_own_times():
    layout = one_frame_layout(OneFrameOptions(target_index=(1, 5, 9)), 1)
    assert layout.indices == (1, 5, 9)
    assert layout.positions == range(3)


def test_without_control_images_one_of_zeros_stands_in_and_controls_not_listed_are_at_zero():
    assert one_frame_layout(OneFrameOptions(no_post=True), 0).clean_1x == Slots(indices=(0,), sources=(ZERO,))
    assert one_frame_layout(OneFrameOptions(control_index=(3,)), 2).clean_1x.indices == (3, 0, 10)


def test_other_window_lengths_move_the_default_target_and_the_zeros():
    layout = one_frame_layout(OneFrameOptions(), 1, window=4)
    assert layout.indices == (4,)
    assert layout.clean_1x.indices == (0, 5)
    assert layout.clean_2x.indices == (6, 7)
    assert layout.clean_4x.indices == tuple(range(8, 24))


def test_more_control_indices_than_images_are_refused():
    with pytest.raises(ConfigError, match=r"3 numbers for 2 control images\. Give one for each image"):
        one_frame_layout(OneFrameOptions(control_index=(0, 1, 2)), 2)
