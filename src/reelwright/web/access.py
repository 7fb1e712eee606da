"""Who may call: a token, and without one only programs of this machine and pages of this studio.

A page elsewhere must not drive a studio that listens on loopback: a browser on this machine can reach it.
So without a token the Host header must be one of ours (else any name could be pointed at 127.0.0.1), and
what changes something must not come from the page of another origin.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelwright.core.errors import ConfigError
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.errors import error_body

LOGIN = "/login"
_SHORTEST_TOKEN = 16
_READS = ("GET", "HEAD", "OPTIONS")
_POLICY_VIOLATION = 1008
_SAFETY_HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


def check_access(config: StudioConfig) -> None:
    """Raises ConfigError for an address that others reach without a token, and for a token easily guessed."""
    token = config.token
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(
            f"token: must have {_SHORTEST_TOKEN} letters or more, all plain ASCII."
            ' Take one: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if not token and not is_loopback(config.host):
        raise ConfigError(
            f"host: {config.host!r} can be reached from other machines, so callers must show a token."
            " Set REELWRIGHT_TOKEN (or --token), or leave out --host to listen on this machine alone."
        )


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Gate:
    """What callers must show."""

    token: str = field(repr=False)
    hosts: frozenset[str]
    """Names under which the studio may be called; checked without a token only."""

    @classmethod
    def of(cls, config: StudioConfig) -> "Gate":
        own = {"127.0.0.1", "localhost", "::1", config.host, *config.allowed_hosts}
        return cls(config.token, frozenset(name.lower() for name in own))

    @property
    def cookie(self) -> tuple[str, str]:
        """Name and value of the cookie that stands for the token; neither tells it."""
        return f"reelwright_{self._digest('name')[:8]}", self._digest("value")

    def accepts_token(self, shown: str) -> bool:
        """Whether this is the token, in a time that tells nothing of it."""
        return hmac.compare_digest(shown.encode(), self.token.encode())

    def refusal(self, headers: Headers, *, is_read: bool) -> tuple[int, str] | None:
        """The status and the reason to turn a caller away with; None for one who may come in."""
        has_bearer = self._has_bearer(headers)
        if self.token and not has_bearer and not self._has_cookie(headers):
            return 401, "Show the token: Authorization: Bearer TOKEN, or log in at /login."
        if not self.token and _host_name(headers) not in self.hosts:
            return 403, (
                f"This studio is not called {headers.get('host', '')[:100]!r}."
                " Use 127.0.0.1, or start it with --allowed-hosts NAME."
            )
        if not is_read and not has_bearer and not self._is_own_page(headers):
            return 403, "Pages of other sites may not change anything here. Use the studio's own page."
        return None

    def _has_bearer(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        return bool(self.token) and scheme.lower() == "bearer" and self.accepts_token(shown.strip())

    def _has_cookie(self, headers: Headers) -> bool:
        name, value = self.cookie
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), value.encode())

    def _is_own_page(self, headers: Headers) -> bool:
        """Browsers say from which page a write comes; programs that are none say nothing."""
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        parts = _split(origin)
        return bool(parts) and (parts[1] == headers.get("host", "").lower() or parts[0] in self._proxies())

    def _proxies(self) -> frozenset[str]:
        return self.hosts - {"127.0.0.1", "localhost", "::1"}

    def _digest(self, word: str) -> str:
        return hmac.new(self.token.encode(), f"reelwright {word}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """Turns callers away before anything of theirs is read, and says to browsers what they must not do."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_socket = scope["type"] == "websocket"
        refusal = self.gate.refusal(headers, is_read=not is_socket and scope["method"] in _READS)
        if refusal is not None and refusal[0] == 401 and scope["path"] == LOGIN:
            refusal = None
        if refusal is None:
            await self.app(scope, receive, send if is_socket else _with_safety_headers(send))
        elif is_socket:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal[1]})
        else:
            await _turned_away(refusal, headers, scope)(scope, receive, send)


def _turned_away(refusal: tuple[int, str], headers: Headers, scope: Scope) -> Response:
    """A page that needs a login leads to it; all else is told what is missing."""
    status, reason = refusal
    if status == 401 and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse(f"{LOGIN}?next={quote(scope['path'])}", status_code=303)
    wanted = {"www-authenticate": 'Bearer realm="reelwright"'} if status == 401 else {}
    if scope["method"] not in _READS:  # whatever comes with it is not read
        wanted["connection"] = "close"
    kind = "authentication_error" if status == 401 else "permission_error"
    return JSONResponse(error_body(reason, kind), status_code=status, headers=wanted)


def _with_safety_headers(send: Send) -> Send:
    async def send_safely(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in _SAFETY_HEADERS.items()]
            message["headers"] = [*message.get("headers", ()), *own]
        await send(message)

    return send_safely


def _host_name(headers: Headers) -> str:
    """The name that the caller used, without the port; empty where it gave none or several."""
    given = headers.getlist("host")
    parts = _split(f"//{given[0]}") if len(given) == 1 else None
    return parts[0] if parts else ""


def _split(origin: str) -> tuple[str, str] | None:
    """Name, and name with port, of an origin; None for one that has none, such as "null"."""
    try:
        parts = urlsplit(origin)
        return (parts.hostname, parts.netloc.lower()) if parts.hostname else None
    except ValueError:
        return None
