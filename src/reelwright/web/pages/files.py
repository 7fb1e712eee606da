"""Files of runs and uploads, for the browser to show."""

from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from reelwright.web.studio import Studio

_RUNS, _UPLOADS = "/files/runs", "/files/uploads"


def mount_files(app: FastAPI, studio: Studio) -> None:
    """Serve what is in the two folders, and nothing that a link in them leads out to."""
    for path, folder in ((_RUNS, studio.runs), (_UPLOADS, studio.uploads.folder)):
        app.mount(path, StaticFiles(directory=folder, check_dir=False))


def url_of(studio: Studio, path: Path | str) -> str:
    """Where the browser finds a file; empty for files that are in neither folder, and for those not there.

    The address changes with the file, so that a preview that was written anew is fetched anew.
    """
    file = Path(path).absolute()
    for start, folder in ((_UPLOADS, studio.uploads.folder), (_RUNS, studio.runs)):
        if file.is_relative_to(folder):
            try:
                stamp = file.stat().st_mtime_ns
            except OSError:
                return ""
            return f"{start}/{quote(file.relative_to(folder).as_posix())}?{stamp:x}"
    return ""
