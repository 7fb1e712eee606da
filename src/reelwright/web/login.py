"""The page that asks for the token once, and the cookie that stands for it from then on."""

from html import escape
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from reelwright.web.access import LOGIN, Gate

_MONTH = 30 * 24 * 3600
_LONGEST_FORM = 4096
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Reelwright: log in</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 22rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin-top: .5rem }}
</style>
</head>
<body>
<h1>Reelwright</h1>
<form method="post" action="{action}">
<label for="token">The token that the studio was started with</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
<p role="alert">{complaint}</p>
</body>
</html>
"""


def add_login(app: FastAPI, gate: Gate) -> None:
    """Mount the login page, where a token is needed."""
    if not gate.token:
        return

    async def show(request: Request) -> Response:
        return _page(_local(request.query_params.get("next", "/")))

    async def take(request: Request) -> Response:
        target = _local(request.query_params.get("next", "/"))
        if not gate.accepts_token(await _sent_token(request)):
            return _page(target, "That is not the token.", status=401)
        answer = RedirectResponse(target, status_code=303)
        name, value = gate.cookie
        secure = request.url.scheme == "https"
        answer.set_cookie(name, value, max_age=_MONTH, httponly=True, samesite="lax", secure=secure)
        return answer

    app.add_api_route(LOGIN, show, methods=["GET"], include_in_schema=False)
    app.add_api_route(LOGIN, take, methods=["POST"], include_in_schema=False)


def _page(target: str, complaint: str = "", *, status: int = 200) -> Response:
    action = f"{LOGIN}?next={quote(target)}"
    return HTMLResponse(_PAGE.format(action=escape(action), complaint=complaint), status_code=status)


def _local(target: str) -> str:
    """A path of this studio; anything that could lead elsewhere becomes its first page."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_local else "/"


async def _sent_token(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return ""
    return parse_qs(body.decode(errors="replace")).get("token", [""])[0]
