"""What can be done to a job in its state, as buttons."""

from collections.abc import Callable
from functools import partial

from reelwright.core.errors import UserError
from reelwright.jobs.queue import Job, JobQueue
from reelwright.web.pages.elements import icon_button, tell

STATES = {
    "queued": "Waiting",
    "running": "Running",
    "paused": "Paused",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
_WISHES = {
    "pause at step": "Pausing after this step",
    "pause at section": "Pausing after this section",
    "cancel": "Cancelling",
}
_Act = tuple[str, str, str, Callable[[JobQueue, str], object]]
_PAUSE: _Act = ("pause", "Pause at the next step, keep memory", "pause", JobQueue.pause)
_PAUSE_SECTION: _Act = (
    *("motion_photos_paused", "Pause after this section, free memory", "pause-section"),
    partial(JobQueue.pause, at="section"),
)
_GO_ON: _Act = ("play_arrow", "Go on", "go-on", JobQueue.go_on)
_CANCEL: _Act = ("close", "Cancel", "cancel", JobQueue.cancel)
_RETRY: _Act = ("replay", "Try again", "retry", JobQueue.retry)
_REMOVE: _Act = ("delete_outline", "Remove from the queue", "remove", JobQueue.remove)
_ACTS: dict[str, tuple[_Act, ...]] = {
    "queued": (_PAUSE, _CANCEL),
    "running": (_PAUSE, _PAUSE_SECTION, _CANCEL),
    "paused": (_GO_ON, _CANCEL),
    "done": (_REMOVE,),
    "failed": (_RETRY, _REMOVE),
    "cancelled": (_RETRY, _REMOVE),
}


def state_text(job: Job) -> str:
    """The state, or what the job was asked to do and has not done yet."""
    return _WISHES.get(job.wish, STATES[job.state])


def draw_acts(queue: JobQueue, job: Job, done: Callable[[], None]) -> None:
    """A button for each act that the state of a job allows; `done` is called after one."""
    for icon, label, name, act in _ACTS[job.state]:
        icon_button(icon, label, partial(_try, partial(act, queue, job.id), done), f"{name}-{job.id}")


def _try(act: Callable[[], object], done: Callable[[], None]) -> None:
    """The state may have changed since the button was drawn."""
    try:
        act()
    except UserError as error:
        tell(str(error), "negative")
    done()
