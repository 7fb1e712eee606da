"""The page Storyboard: write a long video section by section, watch it grow, change one section."""

from pathlib import Path

from nicegui import background_tasks, ui

from reelwright import families
from reelwright.core.errors import ConfigError, UserError
from reelwright.jobs.order import Order
from reelwright.protocols.storyboards import StorySchema
from reelwright.web import form_layout
from reelwright.web.form_layout import Fold
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, heading, named, nothing_here, tell, words
from reelwright.web.pages.field_set import FieldSet
from reelwright.web.pages.plan_card import PlanCard
from reelwright.web.pages.run_picker import draw_run_picker, new_run_folder
from reelwright.web.pages.shell import frame
from reelwright.web.pages.story_cards import StoryCards, board_from, board_to
from reelwright.web.pages.story_run import STORY_FOLDER, StoryRun, runs_with_sections
from reelwright.web.settings import Settings
from reelwright.web.storyboards import STORY, read_storyboard, write_storyboard
from reelwright.web.studio import Studio

NAME = "Storyboard"
PAGE, NEW = "/storyboard", "New storyboard"
_ABOUT = "A long video, section by section: what each shows, and for how long."
_OPEN_FIELDS = ("model", "width", "height", "steps", "seed", "guidance_scale", "distilled_guidance")


def build(studio: Studio, desk: Desk, run: str = "", again: str = "") -> None:
    """Draw a new storyboard, or the run of that name; `again` is a run whose storyboard is taken over."""
    known = families_with_stories()
    with frame(studio, desk, NAME, _ABOUT):
        if not known:
            nothing_here("view_timeline", "No model here makes videos of sections.", "no-stories")
            return
        family = desk.family if desk.family in known else next(iter(known))
        runs = {path.name: path for path in runs_with_sections(studio)}
        if run in runs:
            draw_run_picker(PAGE, NEW, tuple(runs), run)
            StoryRun(studio, runs[run], known[family])
            return
        if run:
            tell(f"There is no run {run} with sections.", "negative")
        if again:
            _take_over(studio, desk, family, known[family], again)
        NewStory(studio, desk, family, known[family])


def families_with_stories() -> dict[str, StorySchema]:
    """Those that bring a schema of storyboards."""
    found = {name: getattr(families.configs(name), "STORY", None) for name in families.names()}
    return {name: schema for name, schema in found.items() if schema is not None}


class NewStory:
    """A storyboard while it is written, kept on the desk; at the end it becomes a job."""

    def __init__(self, studio: Studio, desk: Desk, family: str, schema: StorySchema) -> None:
        self._studio, self._desk, self._family, self._schema = studio, desk, family, schema
        self._key = draft_key(family)
        draft = desk.drafts.get(self._key, {})
        self._settings = Settings(families.configs(family).GENERATE, draft.get("settings", {}))
        with block("rw-row rw-spread st-head"):
            draw_run_picker(PAGE, NEW, tuple(path.name for path in runs_with_sections(studio)), "")
            self._draw_act()
        self._cards = StoryCards(studio, schema, board_from(draft), self._config, self._keep)
        with block("rw-split"):
            with block("rw-card rw-stack", name="story-settings"):
                heading(2, "How it is made")
                self._fields = FieldSet(self._settings, self._settled)
                self._fields.draw(_OPEN_FIELDS)
                self._fields.draw_rest(_folds(self._settings, schema))
            with block("rw-stack rw-side"):
                with block("rw-card rw-stack"):
                    heading(2, "The whole video")
                    self._cards.draw_whole()
                self._plan = PlanCard(studio)
        self._show_sum()
        self._ask_plan()

    def _draw_act(self) -> None:
        with block("st-act rw-sticky"):
            self._sum = named(words("", "rw-muted rw-small"), "story-sum")
            button("Make the video", self._make, "story-make", look="primary", icon="movie_creation")
        self._alert = named(words("", "rw-alert"), "story-problem")
        self._alert.props["role"] = "alert"
        self._alert.set_visibility(False)

    def _settled(self, problems: dict[str, str]) -> None:
        self._cards.refresh_times()
        self._keep()

    def _ask_plan(self) -> None:
        """Ask what so many sections take, once the settings are legal."""
        if self._settings.problems():
            return
        values = {**self._settings.values, self._schema.count: self._cards.num_sections}
        order = Order(workflow="generate", family=self._family, values=values)
        background_tasks.create(self._plan.ask(order), name="plan", context=ui.context.client)

    def _keep(self) -> None:
        draft = {**board_to(self._cards.board), "settings": self._settings.values}
        self._desk.drafts[self._key] = draft
        self._desk.keep()
        self._show_sum()
        self._ask_plan()

    def _show_sum(self) -> None:
        count = self._cards.num_sections
        seconds = count * self._schema.section_seconds(self._config())
        self._sum.set_text(f"{count} section{'s' if count > 1 else ''}, {seconds:.1f} s of video")

    def _config(self) -> object:
        """The settings as far as they are legal."""
        try:
            return self._settings.config()
        except ConfigError:
            return self._settings.schema()

    def _make(self) -> None:
        try:
            run = self._order()
        except UserError as error:
            self._alert.set_text(str(error))
            self._alert.set_visibility(True)
            return
        ui.navigate.to(f"/storyboard?run={run.name}")

    def _order(self) -> Path:
        """Write the storyboard into a run folder of its own and queue its video; that folder."""
        self._settings.config()
        run = new_run_folder(self._studio.runs, f"{self._family}-story")
        story = write_storyboard(run / STORY_FOLDER, self._cards.board, self._schema)
        values = {**self._settings.values, self._schema.field: str(story), "run": str(run)}
        first = next((part["prompt"] for part in self._cards.board.parts if part.get("prompt")), "")
        order = Order(workflow="generate", family=self._family, values=values)
        self._studio.add(order, title=first or f"Storyboard of {self._cards.num_sections}")
        return run


def draft_key(family: str) -> str:
    """Under which the desk keeps the storyboard of a family."""
    return f"storyboard {family}"


def _take_over(studio: Studio, desk: Desk, family: str, schema: StorySchema, run: str) -> None:
    """Put the storyboard of a run on the desk, where it may be changed."""
    try:
        board = read_storyboard(studio.runs / Path(run).name / STORY_FOLDER / STORY, schema)
    except UserError as error:
        tell(str(error), "negative")
        return
    before = desk.drafts.get(draft_key(family), {})
    desk.drafts[draft_key(family)] = {**before, **board_to(board)}
    desk.keep()


def _folds(settings: Settings, schema: StorySchema) -> list[Fold]:
    """What is folded away of how a video is made, without what the storyboard says."""
    said = {schema.field, *schema.answers, *_OPEN_FIELDS}
    kept = [
        Fold(fold.title, tuple(each for each in fold.fields if each.dotted not in said))
        for fold in form_layout.folds(settings.schema)
    ]
    return [fold for fold in kept if fold.fields]
