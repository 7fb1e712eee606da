"""Static files that may be replaced while they are sent: an answer is of the old file or of the new one."""

import os
import re
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_MOST_AT_ONCE = 32 << 20
"""Larger files are sent piece by piece; previews, which are replaced, are smaller."""
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class WholeFiles(StaticFiles):
    """Reads small files in one go, so that the length that is told is that of what is sent."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        usual = super().file_response(full_path, stat_result, scope, status_code)
        if not isinstance(usual, FileResponse) or stat_result.st_size > _MOST_AT_ONCE:
            return usual
        wanted = Headers(scope=scope).get("range", "")
        part = _RANGE.fullmatch(wanted)
        if scope["method"] != "GET" or (wanted and part is None):
            return usual
        try:
            content = Path(full_path).read_bytes()
        except OSError:
            return usual
        kept = {name: usual.headers[name] for name in ("etag", "last-modified") if name in usual.headers}
        headers = {**kept, "accept-ranges": "bytes"}
        if part is None:
            return Response(content, media_type=usual.media_type, headers=headers)
        return _part_of(content, part, usual.media_type, headers)


def _part_of(
    content: bytes, part: re.Match[str], media_type: str | None, headers: dict[str, str]
) -> Response:
    start = int(part[1])
    end = min(int(part[2]) if part[2] else len(content) - 1, len(content) - 1)
    if start > end:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{len(content)}"})
    headers = {**headers, "content-range": f"bytes {start}-{end}/{len(content)}"}
    return Response(content[start : end + 1], 206, headers, media_type)
