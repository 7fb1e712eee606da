"""Files of runs and uploads, for the browser to show."""

from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import Scope

from reelwright.web.places import Places
from reelwright.web.studio import Studio
from reelwright.web.whole_files import WholeFiles

_RUNS, _UPLOADS = "/files/runs", "/files/uploads"


def mount_files(app: FastAPI, studio: Studio) -> None:
    """Serve what is in the two folders, and nothing that a link in them leads out to."""
    for path, folder in ((_RUNS, studio.runs), (_UPLOADS, studio.uploads.folder)):
        app.mount(path, _ShownFiles(folder, studio.places))


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


class _ShownFiles(WholeFiles):
    """Only what jobs may use is served: the queue, which may lie among the runs, is not."""

    def __init__(self, folder: Path, places: Places) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._folder = folder
        self._places = places

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not self._places.inside(self._folder / path):
            return Response(status_code=404)
        return await super().get_response(path, scope)
