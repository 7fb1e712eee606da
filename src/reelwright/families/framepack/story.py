"""What each section shows: from texts with a value for each section, or from a storyboard file.

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
lora_multipliers = [0.5]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from reelwright.core.config import from_mapping, read_toml
from reelwright.core.errors import ConfigError, FileError
from reelwright.families.framepack.section_spec import parse_section_spec
from reelwright.families.framepack.story_schema import LARGEST_SEED, StoryFile, StorySection, sections_of_part

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SectionPlan:
    """What one section shows."""

    prompt: str
    image: Path | None = None
    """Where it starts from."""
    seed: int | None = None
    """Of its noise; None goes on with the noise of the run."""
    lora_multipliers: tuple[float, ...] = ()
    """One for each LoRA of the run; none takes those of the run."""


@dataclass(frozen=True, kw_only=True)
class Storyboard:
    """A whole video, section by section in time."""

    sections: tuple[SectionPlan, ...]
    end_image: Path | None = None
    negative_prompt: str = ""


def plan_sections(prompt: str, image: str, section_seeds: str, num_sections: int) -> tuple[SectionPlan, ...]:
    """What each section shows, in time order, from texts with a value for each section.

    An empty `image` is none, an empty `section_seeds` leaves all seeds to the run; a seed is only for the
    sections that are named. Raises ConfigError for texts that cannot be read.
    """
    prompts = parse_section_spec(prompt, num_sections, "prompt")
    images = parse_section_spec(image, num_sections, "image")
    if image and not all(images.given.values()):
        raise ConfigError(
            f"image: {image}: an index has no image after it. Name one, or leave out the index."
        )
    seeds = parse_section_spec(section_seeds, num_sections, "section_seeds").given if section_seeds else {}
    return tuple(
        SectionPlan(
            prompt=prompts.of(section),
            image=Path(images.of(section)) if images.of(section) else None,
            seed=_parse_seed(seeds[section], section) if section in seeds else None,
        )
        for section in range(num_sections)
    )


def read_story(path: Path, *, window: int = 9, num_loras: int = 0) -> Storyboard:
    """The storyboard in a TOML file, for sections of `window` latents and a run with so many LoRAs.

    The number of sections is the sum of the durations. Raises ConfigError with all problems, each with its
    table.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such storyboard. Check the path.")
    mapping = read_toml(path)
    if isinstance(mapping.get("section"), dict):
        raise ConfigError(f"{path}: section: write [[section]], with two brackets, above each part.")
    story = from_mapping(StoryFile, mapping, str(path))
    if not story.section:
        raise ConfigError(f"{path}: holds no sections. Write a [[section]] table for each part of the video.")
    tables = _read_tables(story, str(path), num_loras)
    numbers = [number for number, table in enumerate(tables) for _ in range(sections_of_part(table, window))]
    prompts = _fill([table.prompt or None for table in tables])
    images = _fill([table.image for table in tables])
    return Storyboard(
        sections=tuple(
            SectionPlan(
                prompt=prompts[number] or "",
                image=_beside(path, images[number]),
                seed=None if tables[number].seed < 0 else tables[number].seed,
                lora_multipliers=tables[number].lora_multipliers,
            )
            for number in numbers
        ),
        end_image=_beside(path, story.end_image),
        negative_prompt=story.negative_prompt,
    )


def check_images(sections: Sequence[SectionPlan], end_image: Path | None = None) -> None:
    """Raise FileError with every image that is not there and the sections that need it."""
    users: dict[Path, list[str]] = {}
    for number, section in enumerate(sections):
        if section.image is not None:
            users.setdefault(section.image, []).append(str(number))
    lines = [
        f"image of section {', '.join(numbers)}: {path}: there is no such file. Check the path."
        for path, numbers in users.items()
        if not path.is_file()
    ]
    if end_image is not None and not end_image.is_file():
        lines.append(f"end_image: {end_image}: there is no such file. Check the path.")
    if lines:
        raise FileError("\n".join(lines))


def _read_tables(story: StoryFile, origin: str, num_loras: int) -> list[StorySection]:
    tables: list[StorySection] = []
    problems: list[str] = []
    for number, mapping in enumerate(story.section, start=1):
        where = f"{origin}: [[section]] {number}"
        misplaced = sorted({field.name for field in fields(StoryFile)} & mapping.keys())
        problems += [f"{where}: {key}: belongs above the first [[section]]." for key in misplaced]
        known = {key: value for key, value in mapping.items() if key not in misplaced}
        try:
            table = from_mapping(StorySection, known, where)
        except ConfigError as error:
            problems.append(str(error))
            continue
        tables.append(table)
        problems += [f"{where}: {problem}" for problem in _problems_of(table, num_loras)]
    if problems:
        raise ConfigError("\n".join(problems))
    return tables


def _problems_of(table: StorySection, num_loras: int) -> Iterator[str]:
    if table.seconds and table.sections:
        yield "seconds and sections both say how long it is. Keep one."
    given = len(table.lora_multipliers)
    if given and given != num_loras:
        yield (
            f"lora_multipliers: {given} given, but the run has {num_loras} LoRA files."
            " Give one number for each --lora, or none."
        )


def _fill(values: Sequence[T | None]) -> list[T | None]:
    """Put the first value that is there where there is none, as texts for sections do."""
    first = next((value for value in values if value is not None), None)
    return [first if value is None else value for value in values]


def _beside(story: Path, image: Path | None) -> Path | None:
    return None if image is None else story.parent / image.expanduser()


def _parse_seed(text: str, section: int) -> int:
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise ConfigError(
            f"section_seeds: section {section}: {text!r} is no seed. Use a whole number from 0 to 2^63 - 1."
        )
    return int(text)
