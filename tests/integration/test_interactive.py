"""Prompts typed one after another: in a terminal as a person sits there, and through a pipe."""

import io
import json
import os
import pty
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .forks import Fork

SMALL = {
    "cogvideox": ("--steps", "2", "--num-frames", "9", "--height", "64", "--width", "64"),
    "framepack": (
        *("--steps", "2", "--video-sections", "1", "--latent-window-size", "2"),
        *("--height", "64", "--width", "96"),
    ),
}
PROMPT = "prompt> "
CTRL_C, CTRL_D = "\x03", "\x04"
PATIENCE = 120
"""Seconds after which a silent program counts as stuck."""


class Terminal:
    """A program in a pseudo-terminal, and what it shows there."""

    def __init__(self, words: tuple[str, ...], folder: Path) -> None:
        self._keyboard, screen = pty.openpty()
        self.process = Fork([*words], folder, {**os.environ, "TERM": "xterm"}, terminal=screen)
        os.close(screen)
        self.shown = ""

    def wait_for(self, text: str, count: int) -> None:
        """Read until `text` was shown so many times, or the program ends."""
        deadline = time.monotonic() + PATIENCE
        while self.shown.count(text) < count and self._read():
            assert time.monotonic() < deadline, self.shown

    def type(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def wait(self) -> int | None:
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def interrupt(self) -> int | None:
        """Ctrl-C until the program ends, as people do: a signal that comes between the prompt and the
        reading of the keyboard is only noticed with the next."""
        deadline = time.monotonic() + PATIENCE
        while self.process.returncode is None and time.monotonic() < deadline:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(5)
        return self.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._keyboard], [], [], PATIENCE)
        assert ready, self.shown
        try:
            read = os.read(self._keyboard, 1 << 16)
        except OSError:  # how Linux says that nobody holds the other end
            return False
        self.shown += read.decode(errors="replace")
        return bool(read)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start `reelwright generate FAMILY --interactive ...` in a terminal."""
    opened: list[Terminal] = []

    def start(family: str, *words: str) -> Terminal:
        line = ("generate", family, *SMALL[family], "--interactive", *words)
        opened.append(Terminal(line, tmp_path))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def piped(reelwright, monkeypatch):
    """Run `reelwright generate FAMILY --interactive ...` in this process with lines from a pipe."""

    def run(family: str, text: str, *words: object):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return reelwright("generate", family, *SMALL[family], "--interactive", *words)

    return run


def stages(run: Path) -> list[str]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event["event"] for event in map(json.loads, lines)]


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_what_is_typed_is_made_as_if_alone_and_a_bad_line_ends_nothing(
    family, terminal, reelwright, tmp_path, digests
):
    talk = terminal(family, "--run", "talk")
    typed = ["a red ball --d 7 --s 3", "a blue bird --q 3", "a green car --d 5 --n blurry"]
    for number, line in enumerate(typed, start=1):
        talk.wait_for(PROMPT, number)
        talk.type(f"{line}\n")
    talk.wait_for(PROMPT, 4)
    talk.type(CTRL_D)
    assert talk.wait() == 1
    shown = re.sub(r"\s+", " ", talk.shown)
    assert shown.count("prompt 2: --q: unknown option. Did you mean") == 2  # at once, and at the end
    assert shown.index("left out: prompt 2") < shown.index("clip-002")
    alone = {
        "clip-001": ("--prompt", "a red ball", "--seed", "7", "--steps", "3"),
        "clip-002": ("--prompt", "a green car", "--seed", "5", "--negative-prompt", "blurry"),
    }
    made = digests(tmp_path / "talk")
    for name, words in alone.items():
        assert reelwright("generate", family, *SMALL[family], *words, "--run", name).code == 0
        typed_files = [digest for file, digest in made.items() if name in file]
        assert sorted(typed_files) == sorted(digests(tmp_path / name).values())
    assert (tmp_path / "talk" / "prompts.txt").read_text().splitlines() == [typed[0], typed[2]]


def test_bars_have_left_the_terminal_when_the_prompt_comes(terminal):
    talk = terminal("cogvideox", "--run", "talk")
    talk.wait_for(PROMPT, 1)
    talk.type("a red ball\n")
    talk.wait_for(PROMPT, 2)
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert talk.shown.rindex(hidden) < talk.shown.rindex(shown) < talk.shown.rindex(PROMPT)
    talk.type(CTRL_D)
    assert talk.wait() == 0


def test_ctrl_c_stops_the_run_and_what_is_finished_stays(terminal, tmp_path, reelwright):
    talk = terminal("cogvideox", "--run", "talk", "--steps", "500")
    talk.wait_for(PROMPT, 1)
    talk.type("a red ball --s 2 --d 3\n")
    talk.wait_for(PROMPT, 2)
    talk.type("a blue bird --d 4\n")
    talk.wait_for("denoise", talk.shown.count("denoise") + 1)
    talk.process.send_signal(signal.SIGINT)
    assert talk.wait() == 130
    assert "what was finished is kept" in talk.shown
    assert [path.name for path in (tmp_path / "talk").glob("*.mp4")] == ["clip-001_seed-3.mp4"]
    assert (tmp_path / "talk" / "prompts.txt").read_text().count("\n") == 2
    events = (tmp_path / "talk" / "events.jsonl").read_text()
    assert json.loads(events.splitlines()[-1])["event"] == "stopped"


def test_ctrl_c_at_the_prompt_ends_the_run(terminal):
    talk = terminal("cogvideox", "--run", "talk")
    talk.wait_for(PROMPT, 1)
    assert talk.interrupt() == 130
    assert "Traceback" not in talk.shown


@pytest.mark.parametrize(
    ("family", "networks"),
    [
        ("cogvideox", ["CogVideoXAutoencoder", "CogVideoXTransformer", "T5EncoderModel"]),
        (
            "framepack",
            [
                *("CLIPTextModel", "FramePackAutoencoder", "FramePackTransformer"),
                *("LlamaModel", "SiglipVisionModel"),
            ],
        ),
    ],
)
def test_networks_and_encoders_are_loaded_once_for_all_lines(piped, family, networks):
    outcome = piped(
        family, "first new words\nsecond new words\n\n# a comment\nthird new words", "--run", "talk"
    )
    assert outcome.code == 0, outcome.err
    assert sorted(outcome.loaded) == networks
    assert outcome.out.count("video: talk/") == 3


def test_a_run_without_a_seed_draws_one_for_each_line_and_resumes_with_them(
    piped, reelwright, tmp_path, digests
):
    text = "a red ball\na red ball --d -1\na red ball --seed 5\n"
    assert piped("cogvideox", text, "--run", "talk").code == 0
    prompts = (tmp_path / "talk" / "prompts.txt").read_text().splitlines()
    seeds = [int(re.fullmatch(r"a red ball --seed (\d+)", line)[1]) for line in prompts]
    assert seeds[2] == 5
    assert len(set(seeds)) == 3
    before = digests(tmp_path / "talk")
    assert [f"clip-{number:03}_seed-{seed}.mp4" in before for number, seed in enumerate(seeds, 1)] == [
        True
    ] * 3
    for path in (tmp_path / "talk").glob("clip-002*"):
        path.unlink()
    assert reelwright("resume", "talk").code == 0
    assert digests(tmp_path / "talk") == before


def test_a_seed_of_the_run_holds_for_every_line(piped, tmp_path):
    assert piped("cogvideox", "a\nb --d 4\n", "--seed", "3", "--run", "talk").code == 0
    names = sorted(path.name for path in (tmp_path / "talk").glob("*.mp4"))
    assert names == ["clip-001_seed-3.mp4", "clip-002_seed-4.mp4"]


def test_events_say_when_a_prompt_may_come(piped, tmp_path):
    outcome = piped("cogvideox", "a\nb --num-videos 2\n", "--seed", "3", "--run", "talk", "--json")
    awaited = [event["number"] for event in outcome.events if event["event"] == "prompt_awaited"]
    finished = [event["clip"] for event in outcome.events if event["event"] == "clip_finished"]
    assert (awaited, finished) == ([1, 2, 3], [1, 2, 3])
    assert stages(tmp_path / "talk") == [event["event"] for event in outcome.events]


def test_a_missing_image_is_told_and_the_prompt_goes_on(piped):
    outcome = piped("framepack", "a@@gone.png\nb\n", "--run", "talk")
    assert outcome.code == 1
    assert "left out: prompt 1: " in outcome.notices
    assert "gone.png: there is no such file" in outcome.notices
    assert outcome.out.count("video: ") == 1


def test_a_letter_that_may_mean_something_else_is_explained(piped):
    outcome = piped("framepack", "a --g 10\n", "--run", "talk")
    assert "prompt 1: --g 10: --g and --l are real guidance" in outcome.notices


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompt", "a"), "prompt: prompts are typed with --interactive"),
        (("--from-file", "a.txt"), "from_file: prompts are typed with --interactive"),
        (("--from-latent", "a.safetensors"), "from_latent: prompts are typed with --interactive"),
    ],
)
def test_prompts_from_two_sides_are_refused(piped, words, said):
    outcome = piped("cogvideox", "a\n", *words, "--run", "talk")
    assert outcome.code == 2
    assert said in outcome.err
    assert not Path("talk").exists()


def test_a_folder_that_holds_a_run_is_refused(piped):
    assert piped("cogvideox", "", "--run", "talk").code == 0
    outcome = piped("cogvideox", "a\n", "--run", "talk")
    assert outcome.code == 2
    assert "reelwright resume talk" in outcome.err
