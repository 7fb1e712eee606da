"""LoRA files on a page: what one holds, and the same in another layout."""

from pathlib import Path
from typing import Any

from nicegui import ui

from reelwright.jobs.order import Order
from reelwright.web.pages.answers import ask, failure_of
from reelwright.web.pages.drop import DropPlace
from reelwright.web.pages.elements import block, button, facts, heading, named, words
from reelwright.web.studio import Studio
from reelwright.web.training_log import METRICS, weights_of

_LAYOUTS = ("native", "diffusers", "peft")
_ABOUT_LAYOUTS = {
    "native": "native: kohya's trainers and musubi-tuner",
    "diffusers": "diffusers",
    "peft": "PEFT",
}
_FOLDER = "loras"
"""In the folder of runs: what was converted."""


class LoraFiles:
    """One file at a time: chosen among the trained ones, typed, or dropped."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with block("rw-card rw-stack", name="lora"):
            heading(2, "LoRA files")
            with block("lo-columns"):
                with block("rw-stack"):
                    self._draw_choice()
                with block("rw-stack"):
                    self._draw_convert()
            self._told = named(ui.element("div").classes("rw-stack"), "lora-told")

    def _draw_choice(self) -> None:
        trained = [str(path) for run in self._training_runs() for path in reversed(weights_of(run))]
        self._file = ui.select(
            trained,
            label="A file",
            with_input=True,
            new_value_mode="add-unique",
            clearable=True,
            on_change=lambda event: self._drop.show("") if not event.value else None,
        )
        named(self._file.props("outlined dense options-dense"), "lora-file")
        self._drop = DropPlace(
            self._studio, "lora", "Drop a LoRA (.safetensors)", self._take, accept=".safetensors"
        )
        self._drop.show("")
        button("Inspect", self._inspect, "lora-inspect", icon="search")

    def _draw_convert(self) -> None:
        self._layout = named(ui.select(_ABOUT_LAYOUTS, value=_LAYOUTS[0], label="Layout"), "lora-layout")
        self._layout.props("outlined dense options-dense")
        words("The file stays as it is; the new one goes beside the runs.", "rw-muted rw-tiny")
        button("Convert", self._convert, "lora-convert", icon="swap_horiz")

    def _take(self, path: str) -> None:
        if path:
            self._file.set_options([path, *(each for each in self._options() if each != path)], value=path)
        else:
            self._file.set_value(None)
        self._drop.show(path)

    def _options(self) -> list[str]:
        return list(map(str, self._file.options))

    async def _inspect(self) -> None:
        await self._ask({"action": "inspect", "file": str(self._file.value or "")})

    async def _convert(self) -> None:
        source = Path(str(self._file.value or ""))
        layout = str(self._layout.value)
        out = self._studio.runs / _FOLDER / f"{source.stem}-{layout}.safetensors"
        out.parent.mkdir(parents=True, exist_ok=True)
        await self._ask({"action": "convert", "file": str(source), "out": str(out), "to": layout})

    async def _ask(self, options: dict[str, Any]) -> None:
        if not self._file.value:
            self._show([{"event": "failed", "message": "Choose a file, or drop one."}])
            return
        self._told.clear()
        with self._told:
            ui.spinner(size="24px", color=None)
        events = await ask(self._studio, Order(workflow="lora", options=options), "lora")
        if events is not None:
            self._show(events)

    def _show(self, events: list[dict[str, Any]]) -> None:
        self._told.clear()
        with self._told:
            if message := failure_of(events):
                words(message, "rw-alert")
            for event in events:
                if event["event"] == "facts":
                    facts(event["facts"])
                elif event["event"] == "notice":
                    words(event["message"], "rw-note")
                elif event["event"] == "finished":
                    self._tell_files(event["files"])

    def _tell_files(self, files: list[dict[str, str]]) -> None:
        for path in (path for each in files for path in each.values()):
            words(f"Written: {path}", "rw-good rw-small")
            self._file.set_options([*dict.fromkeys([*self._options(), path])])

    def _training_runs(self) -> list[Path]:
        return sorted((path.parent for path in self._studio.runs.glob(f"*/{METRICS}")), reverse=True)
