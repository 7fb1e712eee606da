"""Make video as prompts come: one run, in which models are loaded once and stay."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Event, Notice, PromptAwaited
from reelwright.core.log import RunLog
from reelwright.core.paths import cannot_write, check_writable
from reelwright.core.prompt_lines import is_blank, parse_prompt_line, with_option
from reelwright.core.run_folder import RunFolder
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.family import Family, Model
from reelwright.workflows.adapter_origin import locate
from reelwright.workflows.clips.making import Clip, make_clips
from reelwright.workflows.clips.planning import Plan, plan_line
from reelwright.workflows.clips.recording import (
    RECIPE,
    ROOM_NEEDED,
    Tally,
    draw_seed,
    recorded,
    store_recipe,
    with_seed,
)

PROMPTS = "prompts.txt"
"""Within a run: its prompts as they came. The recipe is that of a file of prompts, so it can be resumed."""
_OTHER_WORK = ("prompt", "from_file", "from_latent", "save_merged_model", "story")


def run(family: str, config: GenerateConfig, lines: Iterator[str]) -> Iterator[Event]:
    """Make the clips of each line before the next one is asked for; clips are numbered on.

    A line has options as in a file of prompts. One that cannot be made is told at once, and again at the end;
    the others are made. Without a seed of its own or of the run, each line draws one.
    """
    tally = Tally()
    config = validate(config, "interactive")
    _check(config)
    known = families.load(family)
    check_writable(config.run or config.out, ROOM_NEEDED)
    model = locate(known, config)
    with RunFolder.create(config.out, config.run, family) as folder, RunLog(folder.log_path):
        typed = (folder.path / PROMPTS).resolve()
        store_recipe(folder, family, replace(with_seed(config), from_file=typed))
        talk = _Conversation(known, model, config, folder.path)
        yield from recorded(folder.sink(), talk.run(lines, tally))


def _check(config: GenerateConfig) -> None:
    """Raise ConfigError for what has no place where prompts are typed."""
    for name in (name for name in _OTHER_WORK if getattr(config, name, None)):
        raise ConfigError(f"{name}: prompts are typed with --interactive. Leave out one or the other.")
    if config.run is not None and (config.run / RECIPE).exists():
        raise ConfigError(
            f"run: {config.run} holds a run already. Choose another --run; what that one misses makes"
            f" reelwright resume {config.run}"
        )


@dataclass(frozen=True)
class _Conversation:
    family: Family
    model: Model
    config: GenerateConfig
    folder: Path

    def run(self, lines: Iterator[str], tally: Tally) -> Generator[Event]:
        session = self.family.start(self.model, replace(self.config.execution, keep_encoders=True))
        yield from map(Notice, self.model.notices)
        num_prompts = num_clips = 0
        while True:
            yield PromptAwaited(num_prompts + 1)
            text = next(lines, None)
            if text is None:
                break
            if is_blank(text):
                continue
            num_prompts += 1
            try:
                text, plan = self._understand(text.strip(), f"prompt {num_prompts}")
            except (ConfigError, FileError) as error:
                tally.failures += str(error).splitlines()
                yield from (Notice(f"left out: {line}") for line in str(error).splitlines())
                continue
            self._keep(text)
            yield from map(Notice, plan.notices)
            clips = [
                Clip(plan=clip, folder=self.folder, number=number, total=0)
                for number, clip in enumerate(plan.clips, start=num_clips + 1)
            ]
            num_clips += len(clips)
            yield from tally.watch(make_clips(session, clips))
        yield from tally.end()

    def _understand(self, text: str, origin: str) -> tuple[str, Plan]:
        """The clips of a line, and the line with the seed that was drawn for it. Raises UserError."""
        options = families.configs(self.family.name).PROMPT_OPTIONS
        try:
            line = parse_prompt_line(text, 1, options)
            if self.config.seed < 0 and line.overrides.get("seed", -1) == -1:
                text = with_option(text, "seed", draw_seed(), options)
                line = parse_prompt_line(text, 1, options)
        except ValueError as error:
            raise ConfigError(f"{origin}: {error}") from error
        return text, plan_line(self.family, self.model, self.config, line, origin)

    def _keep(self, text: str) -> None:
        path = self.folder / PROMPTS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        except OSError as error:
            raise cannot_write(path, error) from error
