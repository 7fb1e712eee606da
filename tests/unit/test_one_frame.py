"""The options of one-frame mode: recipes that work and texts that must not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.errors import ConfigError
from reelwright.families.framepack.one_frame import OneFrameOptions, parse_one_frame

indices = st.lists(st.integers(0, 99), max_size=5)
options = st.builds(
    OneFrameOptions,
    target_index=indices.map(lambda found: tuple(dict.fromkeys(found))),
    control_index=indices.map(tuple),
    no_2x=st.booleans(),
    no_4x=st.booleans(),
    no_post=st.booleans(),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default", OneFrameOptions()),
        ("target_index=9,control_index=0", OneFrameOptions(target_index=(9,), control_index=(0,))),
        (
            "no_2x,no_4x,target_index=9,control_index=0",
            OneFrameOptions(target_index=(9,), control_index=(0,), no_2x=True, no_4x=True),
        ),
        ("control_index=0;1,target_index=9", OneFrameOptions(target_index=(9,), control_index=(0, 1))),
        (
            "control_index=0;10,target_index=1,no_post,no_2x,no_4x",
            OneFrameOptions(target_index=(1,), control_index=(0, 10), no_post=True, no_2x=True, no_4x=True),
        ),
        ("target_index=1;5;9", OneFrameOptions(target_index=(1, 5, 9))),
        (" default , target_index = 3 ", OneFrameOptions(target_index=(3,))),
    ],
)
def test_known_recipes_are_read(text, expected):
    assert parse_one_frame(text) == expected


def written(options: OneFrameOptions) -> str:
    lists = {"target_index": options.target_index, "control_index": options.control_index}
    listed = [f"{name}={';'.join(map(str, numbers))}" for name, numbers in lists.items() if numbers]
    switched = [name for name in ("no_2x", "no_4x", "no_post") if getattr(options, name)]
    return ",".join([*listed, *switched]) or "default"


@given(options)
def test_options_are_read_as_they_were_written(wanted):
    assert parse_one_frame(written(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no2x", r"no2x is unknown\. Did you mean no_2x\?"),
        ("target=9", r"target is unknown\. Did you mean"),
        ("control_indices=0", r"Did you mean control_index\?"),
        ("history_index=0", r"history_index no longer exists\. It is called control_index"),
        ("target_index=1,zero_post", r"zero_post no longer exists\. .*no_post"),
        ("no_2x,no_2x", r"no_2x is given twice\. Keep one"),
        ("target_index=1,target_index=2", "target_index is given twice"),
        ("target_index=1;1", "lists a time twice"),
        ("target_index", r"target_index= is not a list of whole numbers\. Write them as target_index=0;10"),
        ("target_index=", "not a list of whole numbers"),
        ("target_index=-1", "not a list of whole numbers"),
        ("target_index=1.5", "not a list of whole numbers"),
        ("control_index=0;;1", "not a list of whole numbers"),
        ("no_post=true", r"no_post takes no value\. Write no_post alone"),
        ("default,", "an option is empty"),
        ("", "an option is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(text, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse_one_frame(text, "line 3: --of")
    assert str(error.value).startswith("line 3: --of: ")
