"""`reelwright queue add|list|...`: jobs that wait for their turn, shared with the studio."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelwright.cli import queued_line
from reelwright.cli.actions import list_actions, take_action
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags
from reelwright.cli.queue_lines import (
    LINES,
    AddLine,
    EditLine,
    InQueue,
    ListLine,
    MoveLine,
    OfJob,
    PauseLine,
    RemoveLine,
    RunLine,
    ShowLine,
    read_line,
)
from reelwright.cli.queue_output import show_events, show_facts, show_jobs, tell_changes
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.interrupt import Interrupted, StopSignals
from reelwright.jobs.job_record import FINAL, WAITING, Job, State, UnknownJobError
from reelwright.jobs.order import Order, arguments_of, order_of
from reelwright.jobs.queue import JobQueue

_LOOK_EVERY = 0.3
_FOLDER = "--queue"


@dataclass(frozen=True, kw_only=True)
class QueueLine:
    """The words after `reelwright queue`."""

    action: str
    flags: InQueue
    order: Order | None = None
    """What is added, or what a job is to do now."""


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright queue` and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(_usage())
        return 0 if arguments else ConfigError.exit_code
    line = parse(arguments)
    return _ACTS[line.action](JobQueue(line.flags.queue), line, output)


def parse(arguments: Sequence[str]) -> QueueLine:
    """What is to be done with the queue. Raises ConfigError, and UnknownJobError for a job to be edited."""
    action, words = take_action("queue", arguments, LINES)
    if action == "add":
        return _parse_add(words)
    if action == "edit" and words:
        return _parse_edit(words)
    return QueueLine(action=action, flags=read_line(action, words))


def find(queue: JobQueue, said: str) -> Job:
    """The job with this id, else the last one with this title, else the one whose id begins so.

    Raises UnknownJobError.
    """
    jobs = queue.list()
    exact = [job for job in jobs if job.title == said] + [job for job in jobs if job.id == said]
    if exact:
        return exact[-1]
    begun = [job for job in jobs if job.id.startswith(said)]
    if len(begun) > 1:
        raise UnknownJobError(f"job {said}: {len(begun)} jobs begin so. Say more of the id.")
    return begun[0] if begun else queue.get(said)


def _parse_add(words: Sequence[str]) -> QueueLine:
    commands = queued_line.COMMANDS
    ends = [at for at, word in enumerate(words) if word in commands and words[at - 1 : at] != ["--title"]]
    line = read_line("add", words[: ends[0]] if ends else words)
    if not ends:
        raise ConfigError(f"{ORIGIN}: queue add: say what to do: {', '.join(commands)}, and its own words.")
    return QueueLine(action="add", flags=line, order=queued_line.order_from(words[ends[0] :]))


def _parse_edit(words: Sequence[str]) -> QueueLine:
    """Flags over what the job has; which flags there are, only the job can tell."""
    own = 1  # the job; before it, where the queue is
    if words[0].partition("=")[0] == _FOLDER:
        own += 1 if "=" in words[0] else 2
    line: EditLine = read_line("edit", words[:own])
    job = find(JobQueue(line.queue), line.job)
    arguments = arguments_of(job.order, f"job {job.id}")
    config: Any = arguments.get("config")
    if config is None:
        raise ConfigError(
            f"job {job.id}: {job.order.workflow} has no flags to change. Add another job instead."
        )
    command, about = f"queue edit {line.job}", str(EditLine.__doc__)
    changed = read_command_line(type(config), words[own:], command=command, about=about, default=config)
    order = order_of(job.order.workflow, {**arguments, "config": validate(changed, ORIGIN)})
    return QueueLine(action="edit", flags=line, order=order)


def _add(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, AddLine)
    assert line.order is not None
    return show_facts(queue.add(line.order, title=line.flags.title), output)


def _list(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, ListLine)
    return show_jobs(queue.list(line.flags.state), output)


def _show(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, ShowLine)
    job = find(queue, line.flags.job)
    return show_events(queue.events(job.id)) if line.flags.events else show_facts(job, output)


def _edit(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert line.order is not None
    return show_jobs([queue.edit(_named(queue, line), line.order)], output)


def _move(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, MoveLine)
    before = find(queue, line.flags.before).id if line.flags.before else None
    queue.move(_named(queue, line), before)
    return show_jobs(queue.list(WAITING), output)


def _pause(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, PauseLine)
    return show_jobs([queue.pause(_named(queue, line), line.flags.at)], output)


def _remove(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    assert isinstance(line.flags, RemoveLine)
    queue.remove(_named(queue, line), files=line.flags.files)
    return show_jobs(queue.list(), output)


def _plainly(act: Callable[[JobQueue, str], Job]) -> "_Act":
    """An act that needs the job alone."""
    return lambda queue, line, output: show_jobs([act(queue, _named(queue, line))], output)


def _run(queue: JobQueue, line: QueueLine, output: OutputFlags) -> int:
    flags = line.flags
    assert isinstance(flags, RunLine)
    dispatcher = Dispatcher(queue, workers=flags.workers, devices=flags.devices)
    told: dict[str, State] = {job.id: job.state for job in queue.list(FINAL)}
    old = set(told)
    try:
        with StopSignals() as signals:
            dispatcher.start()
            while tell_changes(queue, told, output) or not flags.until_done:
                signals.check()
                time.sleep(_LOOK_EVERY)
    except Interrupted as interruption:
        return interruption.exit_code
    finally:
        dispatcher.stop()
    return int(any(state == "failed" for job, state in told.items() if job not in old))


def _named(queue: JobQueue, line: QueueLine) -> str:
    """The id of the job that an action is about."""
    assert isinstance(line.flags, OfJob)
    return find(queue, line.flags.job).id


_Act = Callable[[JobQueue, QueueLine, OutputFlags], int]
_ACTS: Mapping[str, _Act] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "edit": _edit,
    "move": _move,
    "pause": _pause,
    "go-on": _plainly(JobQueue.go_on),
    "cancel": _plainly(JobQueue.cancel),
    "retry": _plainly(JobQueue.retry),
    "remove": _remove,
    "run": _run,
}


def _usage() -> str:
    listed = list_actions(
        {action: " ".join(str(line.__doc__).split()).split(". ")[0] for action, line in LINES.items()}
    )
    return f"usage: reelwright queue ACTION ...\n\n{listed}\nEach action has --help.\n"
