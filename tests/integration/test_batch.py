"""Files of prompts: many clips, models loaded once, and bad lines that stop no others."""

import shutil

import pytest


@pytest.fixture
def prompts(tmp_path):
    """Write a file of prompts."""

    def write(*lines: str):
        (tmp_path / "prompts.txt").write_text("\n".join(lines), encoding="utf-8")
        return "prompts.txt"

    return write


@pytest.fixture
def batch(reelwright):
    """Run `reelwright generate --from-file` for small clips."""

    def run(*words: object):
        small = ("--steps", "2", "--num-frames", "9", "--height", "64", "--width", "64", "--seed", "3")
        return reelwright("generate", "cogvideox", *small, *words)

    return run


def test_each_clip_of_a_file_is_the_clip_made_alone_and_the_networks_load_once(
    batch, reelwright, prompts, tmp_path, digests
):
    file = prompts(
        "# three clips",
        "a red ball --d 7 --s 3",
        "",
        'a green car --w 80 --f 1 --g 1.0 --n "blurry"',
        "a blue bird",
    )
    outcome = batch("--from-file", file, "--run", "batch")
    assert outcome.code == 0, outcome.err
    assert sorted(outcome.loaded) == ["CogVideoXAutoencoder", "CogVideoXTransformer", "T5EncoderModel"]
    alone = (
        ("--prompt", "a red ball", "--seed", "7", "--steps", "3"),
        (
            *("--prompt", "a green car", "--negative-prompt", "blurry"),
            *("--width", "80", "--num-frames", "1", "--guidance-scale", "1"),
        ),
        ("--prompt", "a blue bird"),
    )
    for number, words in enumerate(alone, start=1):
        assert batch(*words, "--run", str(number)).code == 0
        expected = digests(tmp_path / str(number)).values()
        made = {
            name: digest
            for name, digest in digests(tmp_path / "batch").items()
            if f"clip-{number:03}" in name
        }
        assert sorted(made.values()) == sorted(expected)


def test_a_prompt_can_bring_its_image(batch, prompts, tmp_path, model_of, picture, digests):
    shutil.copy(picture, tmp_path / "start.png")
    words = ("--height", "128", "--width", "128", "--model", model_of("image"))
    assert batch(*words, "--from-file", prompts("a red ball@@start.png"), "--run", "batch").code == 0
    assert batch(*words, "--prompt", "a red ball", "--image", "start.png", "--run", "alone").code == 0
    assert digests(tmp_path / "batch") == digests(tmp_path / "alone")


def test_bad_lines_are_told_first_the_good_ones_are_made_and_the_run_fails(batch, prompts, tmp_path, digests):
    file = prompts("a red ball --s 0", "a blue bird --d 5", "a cat --q 1", "a green car --f 1 --num_videos 2")
    outcome = batch("--from-file", file, "--run", "batch")
    assert outcome.code == 1
    told = [
        "prompts.txt: line 3: --q: unknown option.",
        "prompts.txt: line 1: steps: 0 is too small. Use 1 or more.",
    ]
    for said in told:
        assert said in outcome.notices
        assert any(line.startswith("error: ") and said in line for line in outcome.err.splitlines())
    assert outcome.err.index("note: left out: prompts.txt") < outcome.err.index("encode prompts")
    videos = [path.name for path in sorted((tmp_path / "batch").glob("*.mp4"))]
    assert videos == ["clip-001_seed-5.mp4", "clip-002_seed-3.mp4", "clip-003_seed-4.mp4"]
    assert batch("--prompt", "a blue bird", "--seed", "5", "--run", "alone").code == 0
    alone = digests(tmp_path / "alone")
    assert {name: digests(tmp_path / "batch")[name] for name in alone} == alone


def test_strict_refuses_a_file_with_a_bad_line_at_once(batch, prompts, refused, picture):
    file = prompts(
        "a red ball --s 0",
        "a fine prompt",
        "a red ball --w 99",
        f"a red ball@@{picture}",
        "a red ball --g 400000000000000000000000000000x",
    )
    said = refused("--from-file", file, "--strict", code=2, command=batch)
    assert "prompts.txt: line 5: --g" in said
    file = prompts("a red ball --s 0", "a fine prompt", "a red ball --w 99", f"a red ball@@{picture}")
    said = refused("--from-file", file, "--strict", code=2, command=batch)
    assert "prompts.txt: line 1: steps: 0 is too small. Use 1 or more." in said
    assert "prompts.txt: line 3: width: 99 is no multiple of 16." in said
    assert "prompts.txt: line 4: image: this model has no input for it." in said
    assert len(said.splitlines()) == 3


def test_a_file_of_bad_lines_alone_is_refused(batch, prompts, refused):
    said = refused("--from-file", prompts("a --s 0", "b --q 2"), code=2, command=batch)
    assert "line 1: steps" in said
    assert "line 2: --q: unknown option" in said


def test_missing_images_are_named_with_their_lines(batch, prompts, refused, model_of):
    file = prompts("a red ball@@one.png", "a blue ball@@two.png")
    said = refused("--from-file", file, "--model", model_of("image"), code=1, command=batch)
    assert "line 1: one.png: there is no such file" in said
    assert "line 2: two.png: there is no such file" in said


def test_a_line_whose_seed_is_left_open_takes_that_of_the_run(batch, prompts, tmp_path):
    assert batch("--from-file", prompts("a red ball --d -1"), "--run", "batch").code == 0
    assert (tmp_path / "batch" / "clip-001_seed-3.mp4").is_file()


def test_prompts_in_two_places_are_refused(batch, prompts, refused):
    said = refused("--from-file", prompts("a red ball"), "--prompt", "a car", code=2, command=batch)
    assert "Give one or the other" in said


def test_a_file_without_prompts_is_refused(batch, prompts, refused):
    assert "holds no prompt" in refused("--from-file", prompts("# none", ""), code=1, command=batch)
    assert "no such file" in refused("--from-file", "missing.txt", code=1, command=batch)
