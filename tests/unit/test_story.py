"""Values for each section, from texts and from storyboards; both say the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.section_spec import parse_section_spec, write_section_spec
from reelwright.families.framepack.story import SectionPlan, check_images, plan_sections, read_story

words = st.text(st.characters(codec="utf-8", exclude_characters=";"), min_size=1, max_size=12).map(str.strip)
values = words.filter(bool)


def read(text: str, num_sections: int = 4) -> list[str]:
    spec = parse_section_spec(text, num_sections, "prompt")
    return [spec.of(section) for section in range(num_sections)]


def released_lookup(keys: dict[int, str], section: int, num_sections: int) -> str:
    """The rule as published: from the end first, then from the front, else key 0, which may be borrowed."""
    if 0 not in keys:
        borrowed = min(keys) if all(key < 0 for key in keys) else min(key for key in keys if key >= 0)
        keys = {**keys, 0: keys[borrowed]}
    from_end = section - num_sections
    return keys.get(from_end, keys.get(section, keys[0]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat", ["A cat"] * 4),
        ("", [""] * 4),
        ("A cat: it runs", ["A cat: it runs"] * 4),
        (r"C:\a.png", [r"C:\a.png"] * 4),
        ("0:A cat", ["A cat"] * 4),
        ("2:A cat", ["A cat"] * 4),
        ("0:a;;;1:b;;;2:c;;;3:d", ["a", "b", "c", "d"]),
        (" 0 : a ;;; -1 : b ", ["a", "a", "a", "b"]),
        ("0:a;;;1-2:b;;;-1:c", ["a", "b", "b", "c"]),
        ("a;;;1:b", ["a", "b", "a", "a"]),
        ("1:b;;;a", ["a", "b", "a", "a"]),
        ("2:c;;;1:b", ["b", "b", "c", "b"]),
        ("-2:c;;;-1:d", ["c", "c", "c", "d"]),
        ("-1:d;;;1:b", ["b", "b", "b", "d"]),
        ("-4:a;;;1:b", ["a", "b", "b", "b"]),
        ("-3--1:b;;;0:a", ["a", "b", "b", "b"]),
        ("1--1:b;;;0:a", ["a", "b", "b", "b"]),
        ("-4-1:a;;;2:b", ["a", "a", "b", "a"]),
        (r"0:C:\a.png;;;-1:D:\b.png", [r"C:\a.png"] * 3 + [r"D:\b.png"]),
        (r"C:\a.png;;;1:b.png", [r"C:\a.png", "b.png", r"C:\a.png", r"C:\a.png"]),
        ("A cat: runs;;;1:it: sits", ["A cat: runs", "it: sits", "A cat: runs", "A cat: runs"]),
        ("0:16:9 film;;;1:b", ["16:9 film", "b", "16:9 film", "16:9 film"]),
        ("3D film: a cat", ["3D film: a cat"] * 4),
        ("0:a;;;1:", ["a", "", "a", "a"]),
        ("0:two\nlines;;;1:b", ["two\nlines", "b", "two\nlines", "two\nlines"]),
    ],
)
def test_texts_give_each_section_its_value(text, expected):
    assert read(text) == expected


@given(st.integers(1, 12), st.data())
def test_sections_without_a_value_are_looked_up_as_published(num_sections, data):
    sections = data.draw(st.sets(st.integers(0, num_sections - 1), min_size=1))
    keys = {
        section - num_sections * data.draw(st.booleans()): f"value {section}" for section in sorted(sections)
    }
    text = ";;;".join(f"{key}:{value}" for key, value in keys.items())
    expected = [released_lookup(keys, section, num_sections) for section in range(num_sections)]
    assert read(text, num_sections) == expected


@given(st.lists(words, min_size=1, max_size=12))
def test_what_is_written_is_read_again(wanted):
    assert read(write_section_spec(wanted), len(wanted)) == wanted


@given(st.lists(st.none() | values, min_size=1, max_size=12).filter(any))
def test_sections_without_a_value_are_not_named(wanted):
    named = parse_section_spec(write_section_spec(wanted), len(wanted), "seed").given
    assert named == {section: value for section, value in enumerate(wanted) if value is not None}


def test_equal_neighbors_are_written_as_ranges():
    assert write_section_spec(["a", "b", "b", "c"]) == "0:a;;;1-2:b;;;3:c"
    assert write_section_spec(["a", "a"]) == "a"
    assert write_section_spec(["16:9 film", "16:9 film"]) == "0-1:16:9 film"


def test_a_value_that_holds_the_separator_cannot_be_written():
    with pytest.raises(ConfigError, match="separates sections"):
        write_section_spec(["a;;;b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:a;;;4:b", r"^prompt: part 2 \('4:b'\): there is no section 4\. The video has 4, 0 to 3 or"),
        ("-5:a;;;0:b", r"part 1 \('-5:a'\): there is no section -5"),
        ("2-4:a;;;0:b", "there is no section 4"),
        ("16:9 film", r"there is no section 16\. .* write 0:"),
        ("0:a;;;0:b", r"part 2 \('0:b'\): section 0 has a value already"),
        ("0-2:a;;;-2:b", "part 2 .*: section 2 has a value already"),
        ("a;;;b", "part 2 .*: section 0 has a value already"),
        ("0:a;;;A cat: runs", "part 2 .*: section 0 has a value already"),
        ("3-1:a;;;0:b", r"the range runs backward\. Write the earlier section first"),
        ("-1--3:a;;;0:b", "the range runs backward"),
        ("-1-0:a;;;1:b", "the range runs backward"),
        ("0:a;;;", r"part 2 \(''\): there is nothing"),
        (";;;1:b", "part 1 .*: there is nothing"),
        ("0:a;;;1,2:b", r"part 2 \('1,2:b'\): the index cannot be read\. Write 2:, -1:, 0-2: or -3--1:"),
        ("0:a;;;1-:b", "the index cannot be read"),
        ("0:a;;;1-2-3:b", "the index cannot be read"),
        ("1.5:b", "the index cannot be read"),
    ],
)
def test_texts_that_cannot_be_meant_are_refused_with_their_part(text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


@given(st.text(max_size=30), st.integers(1, 5))
def test_any_text_is_read_or_refused_in_words(text, num_sections):
    try:
        assert len(read(text, num_sections)) == num_sections
    except ConfigError as error:
        assert str(error).startswith("prompt: part ")


def test_a_section_that_is_not_there_has_no_value():
    with pytest.raises(ValueError, match=r"not in 0\.\.3"):
        parse_section_spec("a", 4, "prompt").of(4)


def test_texts_become_plans_and_only_named_sections_have_seeds():
    plans = plan_sections("0:a;;;1:b", "0:x.png;;;-1:y.png", "1:77", 3)
    assert plans == (
        SectionPlan(prompt="a", image=Path("x.png")),
        SectionPlan(prompt="b", image=Path("x.png"), seed=77),
        SectionPlan(prompt="a", image=Path("y.png")),
    )
    assert plan_sections("a", "", "", 2) == (SectionPlan(prompt="a"), SectionPlan(prompt="a"))


def test_an_index_without_an_image_is_refused():
    with pytest.raises(ConfigError, match="an index has no image after it"):
        plan_sections("a", "0:x.png;;;1:", "", 2)


@pytest.mark.parametrize("seed", ["abc", "-1", "1.5", str(2**63)])
def test_a_seed_that_is_none_is_refused_with_its_section(seed):
    with pytest.raises(ConfigError, match=r"section_seeds: section 1: .* is no seed"):
        plan_sections("a", "", f"1:{seed}", 2)


STORY = """
negative_prompt = "blurry"
end_image = "home.png"

[[section]]
prompt = "A dog runs after a ball"
image = "start.png"
seconds = 2.5

[[section]]
prompt = "The dog brings the ball back"
sections = 3
seed = 7
lora_multipliers = [0.5, 1]

[[section]]
prompt = "It sleeps"
image = "/pictures/bed.png"
"""


@pytest.fixture
def write(tmp_path):
    def write_story(text: str) -> Path:
        path = tmp_path / "story.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_story


def test_a_storyboard_says_what_the_texts_say(write, tmp_path):
    story = read_story(write(STORY), num_loras=2)
    start, bed = tmp_path / "start.png", Path("/pictures/bed.png")
    texts = plan_sections(
        "0-1:A dog runs after a ball;;;2-4:The dog brings the ball back;;;-1:It sleeps",
        f"0:{start};;;5:{bed}",
        "2-4:7",
        6,
    )
    assert [plan.lora_multipliers for plan in story.sections] == [()] * 2 + [(0.5, 1.0)] * 3 + [()]
    assert tuple(replace(plan, lora_multipliers=()) for plan in story.sections) == texts
    assert story.end_image == tmp_path / "home.png"
    assert story.negative_prompt == "blurry"


def test_a_storyboard_written_as_texts_is_the_same_storyboard(write):
    plans = read_story(write(STORY), num_loras=2).sections
    texts = plan_sections(
        write_section_spec([plan.prompt for plan in plans]),
        write_section_spec([str(plan.image) for plan in plans]),
        write_section_spec([None if plan.seed is None else str(plan.seed) for plan in plans]),
        len(plans),
    )
    assert texts == tuple(replace(plan, lora_multipliers=()) for plan in plans)


def test_durations_follow_the_window_and_default_to_one_section(write):
    text = "[[section]]\nprompt='a'\nseconds = 2.5\n[[section]]\nprompt='b'\n"
    assert [plan.prompt for plan in read_story(write(text)).sections] == ["a", "a", "b"]
    assert [plan.prompt for plan in read_story(write(text), window=3).sections] == ["a"] * 6 + ["b"]


def test_what_a_table_leaves_out_is_that_of_the_first_that_has_it(write):
    text = "[[section]]\nsections = 2\n[[section]]\nprompt='b'\nimage='b.png'\n[[section]]\nprompt='c'\n"
    path = write(text)
    plans = read_story(path).sections
    assert [plan.prompt for plan in plans] == ["b", "b", "b", "c"]
    assert {plan.image for plan in plans} == {path.parent / "b.png"}
    assert read_story(write("[[section]]\n")).sections == (SectionPlan(prompt=""),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sections. Write a [[section]] table"),
        ("[section]\nprompt='a'", "write [[section]], with two brackets"),
        ("section = 3", "section: 3 is not a list"),
        ("section = [3]", "section: 3 is not a table"),
        ("sektion = 1\n[[section]]\n", "sektion: unknown key. Did you mean section?"),
        ("[[section]]\npromt='a'", "[[section]] 1: promt: unknown key. Did you mean prompt?"),
        ("[[section]]\n[[section]]\nend_image='a'", "[[section]] 2: end_image: belongs above the first"),
        ("[[section]]\nseconds=2\nsections=1", "[[section]] 1: seconds and sections both say how long"),
        ("[[section]]\nseconds=-2", "seconds: -2 is too small. Use 0.0 or more."),
        ("[[section]]\nlora_multipliers=[1.0]", "lora_multipliers: 1 given, but the run has 2 LoRA files"),
        ("[[section]]\nseed='x'", "[[section]] 1: seed: 'x' is not a whole number"),
        ("[[section]\n", "is not valid TOML"),
    ],
)
def test_storyboards_that_cannot_be_meant_are_refused_with_their_table(write, text, message):
    with pytest.raises(ConfigError) as error:
        read_story(write(text), num_loras=2)
    assert message in str(error.value)
    assert "story.toml" in str(error.value)


def test_all_problems_of_a_storyboard_are_told_at_once(write):
    with pytest.raises(ConfigError) as error:
        read_story(write("[[section]]\nseed='x'\npromt='a'\n[[section]]\nseconds=1\nsections=1\n"))
    assert [line.split("toml: ")[1].split(":")[0] for line in str(error.value).splitlines()] == [
        "[[section]] 1",
        "[[section]] 1",
        "[[section]] 2",
    ]


def test_a_storyboard_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such storyboard"):
        read_story(tmp_path / "none.toml")


def test_missing_images_are_told_with_their_sections(tmp_path):
    there, gone = tmp_path / "there.png", tmp_path / "gone.png"
    there.touch()
    plans = [SectionPlan(prompt="", image=image) for image in (there, gone, None, gone)]
    check_images(plans[::2], there)
    with pytest.raises(FileError) as error:
        check_images(plans, tmp_path / "end.png")
    first, second = str(error.value).splitlines()
    assert first == f"image of section 1, 3: {gone}: there is no such file. Check the path."
    assert second.startswith("end_image: ")
