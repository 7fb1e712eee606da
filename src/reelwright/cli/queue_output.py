"""What `reelwright queue` shows: a line for each job, or all that is known of one; with --json, JSON."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from reelwright.cli.output import OutputFlags
from reelwright.jobs.job_record import Job, State
from reelwright.jobs.queue import JobQueue


def show_jobs(jobs: Sequence[Job], output: OutputFlags) -> int:
    """A line for each job on stdout."""
    if output.json:
        return _write(json.dumps(job.to_json()) for job in jobs)
    return _write(f"{job.id}  {_state(job):<28}  {job.title}" for job in jobs)


def show_facts(job: Job, output: OutputFlags) -> int:
    """What is known of a job, as `name: words`."""
    if output.json:
        return show_jobs([job], output)
    said = {"job": job.id, "title": job.title, "state": _state(job), "message": job.message, "run": job.run}
    times = {name: _moment(getattr(job, name)) for name in ("created", "started", "ended")}
    what = " ".join(filter(None, (job.order.workflow, job.order.family)))
    told = {**said, **times, "work": what, **_flat(job.order.values), **_flat(job.order.options)}
    return _write(f"{name}: {value}" for name, value in told.items() if value not in (None, ""))


def show_events(events: Iterable[Mapping[str, Any]]) -> int:
    """A line of JSON for each event."""
    return _write(json.dumps(event, ensure_ascii=False) for event in events)


def tell_changes(queue: JobQueue, told: dict[str, State], output: OutputFlags) -> bool:
    """A line for each job whose state is another than was told, and whether any waits or runs still."""
    jobs = queue.list()
    changed = [job for job in jobs if told.get(job.id) != job.state]
    told |= {job.id: job.state for job in changed}
    if not output.quiet:
        show_jobs(changed, output)
    return any(job.state in ("queued", "running") for job in jobs)


def _state(job: Job) -> str:
    """The state, and how far a job is that runs."""
    if not job.has_worker:
        return job.state
    progress, words = job.progress, ["holding" if job.holds else job.state]
    if "stage" in progress:
        total = f"/{progress['total']}" if progress.get("total") else ""
        words.append(f"{progress['stage']} {progress.get('step', 0)}{total}")
    return " ".join([*words, f"({job.wish})" if job.wish else ""]).strip()


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _flat(values: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Values of groups under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{group}{name}.") if isinstance(value, Mapping) else {f"{group}{name}": value}
    return flat


def _write(lines: Iterable[str]) -> int:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    return 0
