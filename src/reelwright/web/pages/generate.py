"""Generate: settings at the left, what they take and what comes of them at the right."""

from copy import deepcopy

from nicegui import background_tasks, ui

from reelwright import families
from reelwright.core.errors import UserError
from reelwright.jobs.order import Order
from reelwright.jobs.queue import Job
from reelwright.web.form_layout import NOT_ASKED
from reelwright.web.pages.desk import Desk
from reelwright.web.pages.elements import block, button, named, reached_by, tell, words
from reelwright.web.pages.family_chips import FamilyChips
from reelwright.web.pages.form import SettingsForm
from reelwright.web.pages.job_card import JobCard
from reelwright.web.pages.plan_card import PlanCard
from reelwright.web.pages.shell import frame
from reelwright.web.settings import Settings, by_field
from reelwright.web.studio import Studio

NAME = "Generate"
_PROMPT = "prompt"


def build(studio: Studio, desk: Desk, job: str = "") -> None:
    """Draw the page as it was left; with a `job`, that one is edited."""
    edited = _editable(studio, job) if job else None
    about = (
        f"Change the job “{edited.title}”."
        if edited
        else "Say what to show, see what it takes, watch it come."
    )
    with frame(studio, desk, NAME, about):
        _Page(studio, desk, edited)


def _editable(studio: Studio, job: str) -> Job | None:
    """The job, where it is one that this form can show."""
    try:
        found = studio.queue.get(job)
    except UserError as error:
        tell(str(error), "negative")
        return None
    return found if found.order.workflow == "generate" else None


class _Page:
    """One visit: the form of the chosen family, the plan of what it says, and the job that is watched."""

    def __init__(self, studio: Studio, desk: Desk, edited: Job | None) -> None:
        self._studio, self._desk, self._edited = studio, desk, edited
        known = families.names()
        wanted = edited.order.family if edited else desk.family
        self._family = wanted if wanted in known else known[0]
        with block("rw-split"):
            with block("rw-stack"):
                if not edited:
                    FamilyChips(known, self._family, self._choose)
                with block("rw-stack") as self._place:
                    self._form = self._draw_form()
            with block("rw-stack rw-side", tag="aside"):
                self._draw_act()
                self._plan = PlanCard(studio)
                self._card = JobCard(studio)
        if watched := edited.id if edited else desk.job:
            self._card.show(watched)
        self._settled(self._form.settings.problems())

    def _choose(self, family: str) -> None:
        """Go to another family; what it knows too comes along where its own draft says nothing."""
        brought = {
            name: self._form.settings.values.get(name) for name in ("prompt", "negative_prompt", "seed")
        }
        self._family = family
        self._desk.drafts[family] = {**brought, **self._desk.drafts.get(family, {})}
        self._place.clear()
        with self._place:
            self._form = self._draw_form()
        self._settled(self._form.settings.problems())

    def _draw_form(self) -> SettingsForm:
        configs = families.configs(self._family)
        values = self._edited.order.values if self._edited else self._desk.drafts.get(self._family, {})
        settings = Settings(configs.GENERATE, values)
        for name in NOT_ASKED:
            settings.set(name, None)
        return SettingsForm(self._studio, configs, settings, self._settled, self._last_seed)

    def _last_seed(self) -> int | None:
        """That of the job that is watched."""
        try:
            return self._studio.queue.get(self._desk.job).order.values.get("seed")
        except UserError:
            return None

    def _draw_act(self) -> None:
        with block("rw-card rw-stack tight rw-sticky"):
            with block("rw-row still"):
                text, icon = ("Save changes", "check") if self._edited else ("Generate", "auto_awesome")
                self._press = button(text, self._generate, "generate", look="primary", icon=icon)
                reached_by(self._press.classes("rw-grow"), "g").props('title="Alt+G"')
                if self._edited:
                    button("Back", lambda: ui.navigate.to("/queue"), "back", look="ghost")
                else:
                    button("Reset", self._reset, "reset", look="ghost")
            self._trouble = named(words("", "rw-alert"), "form-problem")
            self._trouble.props["role"] = "alert"
            self._trouble.set_visibility(False)

    def _order(self) -> Order:
        values = deepcopy(self._form.settings.values)  # which change while the plan is made
        return Order(workflow="generate", family=self._family, values=values)

    def _settled(self, problems: dict[str, str]) -> None:
        """The settings changed: keep them, and ask what they take once they are legal."""
        if not self._edited:
            self._desk.family = self._family
            self._desk.drafts[self._family] = self._form.settings.values
            self._desk.keep()
        self._show(problems)
        if not problems:
            check = self._check(self._order(), is_pressed=False)
            background_tasks.create(check, name="check", context=ui.context.client)

    async def _check(self, order: Order, *, is_pressed: bool) -> bool:
        """Ask what only the model can tell, and what it takes; whether the settings can be used.

        That there is no prompt yet is said when the button is pressed. What no setting mends, such as a model
        that is still to be fetched, is told but stops nobody.
        """
        failed = await self._plan.ask(order)
        if self._form.settings.problems():
            return False
        if failed is None:  # a later question took its place: what was pressed is not lost, the job will tell
            return is_pressed
        problems = by_field(failed.message, self._form.settings.facts)
        if not is_pressed and not self._form.settings.get(_PROMPT):
            problems.pop(_PROMPT, None)
        is_bad = failed.is_config or any(problems)
        self._show(problems, is_bad=is_bad)
        return not is_bad

    def _show(self, problems: dict[str, str], *, is_bad: bool = True) -> None:
        """Beside each field; what belongs to none that is drawn, beside the button."""
        self._form.show_problems(problems)
        rest = [text for name, text in problems.items() if text and not self._form.shows(name)]
        hint = ["Some settings cannot be used: see what stands beside them."] if problems and not rest else []
        self._trouble.set_text("\n".join(rest + hint))
        self._trouble.classes(remove="rw-alert rw-note", add="rw-alert" if is_bad else "rw-note")
        self._trouble.set_visibility(bool(problems))

    async def _generate(self) -> None:
        problems = self._form.settings.problems()
        if problems:
            self._show(problems)
            return
        order = self._order()  # as it was pressed, whatever is typed while it is checked
        self._press.props("loading")
        try:
            if await self._check(order, is_pressed=True):
                self._add_or_edit(order)
        except UserError as error:
            self._show(by_field(str(error), self._form.settings.facts))
        finally:
            self._press.props(remove="loading")

    def _add_or_edit(self, order: Order) -> None:
        """Hand an order to the queue. Raises UserError."""
        if self._edited:
            self._studio.edit(self._edited.id, order)
            ui.navigate.to("/queue")
            return
        job = self._studio.add(order)
        self._desk.job = job.id
        self._desk.keep()
        self._card.show(job.id)
        self._card.reveal()
        ahead = sum(other.place < job.place for other in self._studio.queue.list(("queued", "running")))
        tell(f"In the queue, {ahead} before it." if ahead else "In the queue.", "positive")

    def _reset(self) -> None:
        self._form.settings.load({})
        self._form.reload()
