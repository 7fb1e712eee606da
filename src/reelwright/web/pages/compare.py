"""Two runs side by side: their clips play as one, and only what differs in their settings is told."""

from nicegui import ui

from reelwright.web.gallery import RunCard
from reelwright.web.pages.elements import block, button, heading, named, words
from reelwright.web.pages.files import url_of
from reelwright.web.pages.run_view import all_settings, draw_player
from reelwright.web.studio import Studio

_NEAR_SECONDS = 0.05
_FOLLOW = {
    "play": "other.play()",
    "pause": "other.pause(); other.currentTime = player.currentTime",
    "ratechange": "other.playbackRate = player.playbackRate",
    "seeked": f"if (Math.abs(other.currentTime - player.currentTime) > {_NEAR_SECONDS})"
    " other.currentTime = player.currentTime",
}
"""What one player does when something happened to the other."""


def draw_comparison(studio: Studio, first: RunCard, second: RunCard) -> None:
    """Both clips, and the settings in which they differ."""
    with block("rw-row rw-spread"):
        button("All runs", lambda: ui.navigate.to("/gallery"), "back", look="ghost", icon="arrow_back")
        with block("rw-row"):
            button("Play both", lambda: _play(players), "play-both", look="primary", icon="play_arrow")
    players: list[ui.element] = []
    with block("rw-pair", name="comparison"):
        for card, side in ((first, "a"), (second, "b")):
            with block("rw-stack"):
                with block("rw-frame"):
                    source = card.clips[0] if card.clips else None
                    if source is not None:
                        players.append(draw_player(url_of(studio, source), f"video-{side}"))
                words(card.title, "rw-strong")
                words(card.folder.name, "rw-muted rw-tiny")
    if len(players) == 2:
        _bind(players[0], players[1])
        _bind(players[1], players[0])
    _draw_differences(first, second)


def _bind(player: ui.element, other: ui.element) -> None:
    """Let one follow the other."""
    for event, act in _FOLLOW.items():
        both = f"const player = getHtmlElement({player.id}), other = getHtmlElement({other.id})"
        player.on(event, js_handler=f"() => {{ {both}; {act} }}")


def _play(players: list[ui.element]) -> None:
    starts = "".join(f"getHtmlElement({player.id}).currentTime = 0;" for player in players)
    ui.run_javascript(f"{starts} getHtmlElement({players[0].id}).play()")


def _draw_differences(first: RunCard, second: RunCard) -> None:
    left, right = all_settings(first), all_settings(second)
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    names = [name for name in names if name not in ("out", "run")]
    with block("rw-card rw-stack"):
        heading(2, "What differs")
        if not names:
            words("Nothing: both have the same settings.", "rw-muted")
        with named(ui.element("div").classes("rw-differences"), "differences"):
            for name in names:
                words(name, "rw-muted rw-small")
                words(left.get(name, "—"), "rw-small")
                words(right.get(name, "—"), "rw-small")
