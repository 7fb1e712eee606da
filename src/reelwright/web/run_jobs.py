"""Which jobs worked in which run folder."""

from pathlib import Path

from reelwright.jobs.queue import Job, JobQueue


def job_of_run(queue: JobQueue, run: Path) -> Job | None:
    """The last job that works, or worked, in a run folder."""
    jobs = [job for job in queue.list() if job.run == run]
    return max(jobs, key=lambda job: job.created) if jobs else None
