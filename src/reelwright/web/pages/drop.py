"""A place to drop a picture or a clip, which shows what lies in it."""

from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path

from nicegui import ui
from nicegui.events import UploadEventArguments

from reelwright.core.errors import UserError
from reelwright.web.pages.elements import block, icon_button, named, tell, words
from reelwright.web.pages.files import url_of
from reelwright.web.studio import Studio

_CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
_ACCEPTED = "image/*,video/*,.mkv,.safetensors"


Taken = Callable[[str], Awaitable[None] | None]
"""Told where the file lies; nothing once it was taken away."""


class DropPlace:
    """Takes one file, keeps its bytes as an upload, and tells where it lies; it can be emptied."""

    def __init__(
        self, studio: Studio, name: str, hint: str, taken: Taken, *, accept: str = _ACCEPTED
    ) -> None:
        self._studio, self._taken, self._name, self._hint = studio, taken, name, hint
        self._element = named(ui.element("div").classes("rw-drop"), f"drop-{name}")
        with self._element as element:
            self._upload = ui.upload(on_upload=self._take, on_rejected=_refuse, auto_upload=True)
            self._upload.props["accept"] = accept
            self._upload.props["aria-hidden"] = "true"
            named(self._upload, f"upload-{name}")
            self._inside = block("rw-drop-inside")
        element.props("tabindex=0 role=button")
        element.props["aria-label"] = f"{hint}: choose a file or drop one here"
        pick = f"() => runMethod({self._upload.id}, 'pickFiles', [])"
        element.on("click", js_handler=pick)
        element.on("keydown.enter.self", js_handler=pick)

    def slim(self) -> None:
        """A strip rather than a square."""
        self._element.classes("slim")

    def show(self, path: str) -> None:
        """Show the file that lies at a path; none for an empty one."""
        self._inside.clear()
        with self._inside:
            if path:
                self._draw_file(path)
            else:
                with block("hint"):
                    ui.icon("add_photo_alternate")
                    words(self._hint)

    def _draw_file(self, path: str) -> None:
        url = url_of(self._studio, path)
        if url and Path(path).suffix.lower() in _CLIPS:
            ui.element("video").props(f'src="{url}" muted loop autoplay playsinline')
        elif url:
            ui.element("img").props(f'src="{url}" alt="{self._hint}"')
        else:
            with block("hint"):
                ui.icon("insert_drive_file")
                words(Path(path).name, "rw-cut")
        press = icon_button("close", f"Remove: {self._hint}", lambda: self._taken(""), f"clear-{self._name}")
        press.classes("clear").on("click.stop")

    async def _take(self, event: UploadEventArguments) -> None:
        self._upload.reset()
        path = await keep(self._studio, event.file.iterate())
        if path and (later := self._taken(path)) is not None:
            await later


def _refuse() -> None:
    """What the browser did not even send."""
    tell("This file is none that can be used here. Take a picture, a clip or a safetensors file.", "negative")


async def keep(studio: Studio, chunks: AsyncIterable[bytes]) -> str:
    """Keep what was sent and return where; where it cannot be, say why and return nothing."""
    try:
        return str((await studio.uploads.keep(chunks)).path)
    except UserError as error:
        tell(str(error), "negative")
        return ""
