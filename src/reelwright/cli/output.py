"""What a command line shows: progress and errors on stderr, results on stdout."""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reelwright.cli.findings import FindingsTable, write_findings
from reelwright.core.events import ConsoleText, Event, EventSink, Facts, Failed, Finished, Stopped, to_json


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """The flags that every command understands."""

    json: bool = False
    """Events as JSON lines on stdout, and nothing else there."""
    quiet: bool = False
    """No progress; only errors and the paths of the results."""
    debug: bool = False
    """The program's log, tracebacks included, on stderr."""


_FLAGS = {f"--{name}": name for name in OutputFlags.__dataclass_fields__}


def split_output_flags(arguments: Sequence[str]) -> tuple[OutputFlags, list[str]]:
    """Take the output flags out of a command line, wherever they stand."""
    given = {_FLAGS[word]: True for word in arguments if word in _FLAGS}
    return OutputFlags(**given), [word for word in arguments if word not in _FLAGS]


@contextmanager
def open_sinks(flags: OutputFlags) -> Generator[list[EventSink], None, None]:
    """Where the events of a workflow go; a progress display lives as long as the block."""
    if flags.json or flags.quiet:
        yield failure_sinks(flags) if flags.json else [show_failure, write_findings, write_results]
        return
    from reelwright.cli.progress import open_display  # noqa: PLC0415 - rich is slow to import

    findings = FindingsTable() if sys.stdout.isatty() else write_findings
    with open_display() as display:
        yield [display, show_failure, findings, write_results]


def failure_sinks(flags: OutputFlags) -> list[EventSink]:
    """Where an error goes that comes before any workflow."""
    return [show_failure, write_json_line] if flags.json else [show_failure]


def show_failure(event: Event, /) -> None:
    """Say on stderr why it ended early."""
    match event:
        case Failed(message=message):
            sys.stderr.write("".join(f"error: {line}\n" for line in message.splitlines()))
        case Stopped(signal=signal, advice=advice):
            sys.stderr.write(f"stopped by {signal}; what was finished is kept. {advice}".rstrip() + "\n")
        case _:
            pass


def write_results(event: Event, /) -> None:
    """Each answer on stdout as `name: words`, and at the end each result as `kind: path`."""
    match event:
        case Facts(facts=facts):
            tables = (facts,)
        case Finished(files=files):
            tables = files
        case ConsoleText(text=text):
            sys.stdout.write(text)
            return
        case _:
            return
    sys.stdout.write("".join(f"{name}: {text}\n" for table in tables for name, text in table.items()))
    sys.stdout.flush()


def write_json_line(event: Event, /) -> None:
    """The event as one line of JSON on stdout."""
    sys.stdout.write(json.dumps(to_json(event)) + "\n")
    sys.stdout.flush()
