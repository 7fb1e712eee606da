"""One run of a workflow: its events go to sinks, its end becomes an exit code."""

import importlib
import logging
import pkgutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress

from reelwright.core.errors import ConfigError, MemoryLimitError, UserError, is_out_of_memory, suggestion
from reelwright.core.events import Event, EventSink, Failed, Stopped
from reelwright.jobs.interrupt import Interrupted, StopSignals

_logger = logging.getLogger(__name__)


_SHOW_TRACEBACK = "Run it again with --debug to see the traceback."


def run_workflow(
    name: str,
    arguments: Mapping[str, object],
    sinks: Sequence[EventSink],
    *,
    to_see_traceback: str = _SHOW_TRACEBACK,
) -> int:
    """Run `reelwright.workflows.<name>.run(**arguments)` and return the exit code.

    0 done, 1 failed, 2 illegal configuration, 3 out of memory, 130 after Ctrl-C, 143 after SIGTERM. However
    it ends, the workflow is closed first, so that it can save its state; then the sinks see the last event.
    to_see_traceback: advice after an error that nobody foresaw.
    """
    with StopSignals() as stop:
        ending, exit_code = _run(_events(name, arguments), sinks, stop, to_see_traceback)
        stop.disarm()
        if ending is not None:
            _report(ending, sinks)
    return exit_code


def _run(
    started: Generator[Event, None, None],
    sinks: Sequence[EventSink],
    stop: StopSignals,
    to_see_traceback: str,
) -> tuple[Event | None, int]:
    """The exit code, and the last event where the workflow itself could not send it."""
    try:
        with closing(started) as events:
            for event in events:
                try:
                    for sink in sinks:
                        sink(event)
                    stop.check()
                except Interrupted as interruption:
                    events.throw(interruption)  # so that the workflow can tell which signal it was
    except Interrupted as interruption:
        return Stopped(interruption.name, _notes(interruption)), interruption.exit_code
    except UserError as error:
        return _failure(error), error.exit_code
    except Exception as error:  # the edge of a job: nothing may end in a bare traceback
        _logger.debug("the workflow failed", exc_info=error)
        return _unexpected(error, to_see_traceback)
    return None, 0


def _events(name: str, arguments: Mapping[str, object]) -> Generator[Event, None, None]:
    """The workflow's events; closing this closes the workflow."""
    workflows = importlib.import_module("reelwright.workflows")
    names = [module.name for module in pkgutil.iter_modules(workflows.__path__)]
    if name not in names:
        raise ConfigError(f"{name}: unknown workflow. {suggestion(name, names)}")
    run = importlib.import_module(f"reelwright.workflows.{name}").run
    yield from run(**arguments)


def _failure(error: UserError) -> Failed:
    return Failed(type(error).__name__, "\n".join(filter(None, (str(error), _notes(error)))))


def _notes(error: BaseException) -> str:
    """What the workflow added."""
    return "\n".join(getattr(error, "__notes__", []))


def _unexpected(error: Exception, to_see_traceback: str) -> tuple[Failed, int]:
    notes: list[str] = getattr(error, "__notes__", [])
    if is_out_of_memory(error):
        advice = ["Choose a smaller height, width or num_frames, or --execution.tiling.", *notes]
        message = f"There is not enough memory: {_first_line(error)} {' '.join(advice)}"
        return Failed(MemoryLimitError.__name__, message), MemoryLimitError.exit_code
    advice = notes or [to_see_traceback]
    message = f"{type(error).__name__}: {_first_line(error)} {' '.join(advice)}"
    return Failed(type(error).__name__, message), 1


def _first_line(error: Exception) -> str:
    """The start of the message, as a sentence."""
    line = (str(error).strip().splitlines() or ["no message"])[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _report(event: Event, sinks: Iterable[EventSink]) -> None:
    """Send the last event; one that cannot take it (full disk, closed pipe) must not silence others."""
    for sink in sinks:
        with suppress(OSError, UserError):
            sink(event)
