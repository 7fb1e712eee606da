"""What callers send: read with the same care and the same words as recipes and command lines."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar, cast

from fastapi import Request
from pydantic import TypeAdapter
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError

T = TypeVar("T")

ORIGIN = "request"
JSON = "application/json"
FORM = "multipart/form-data"
_DEEPEST = 32
_CHUNK = 1 << 18


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object that a request holds.

    Raises HTTPException 415 for another kind and 400 for what is no JSON, ConfigError for what is no object
    and for text that no file can hold.
    """
    if _content_type(request) != JSON:
        raise HTTPException(415, f"the body is of the kind {_content_type(request)!r}, not {JSON}")
    return parse_json(await request.body(), "the body")


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """The JSON object in a text; raises as `json_body`."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{ORIGIN}: {what} must be a JSON object: {{...}}.")
    check_text(cast("object", value))
    return cast("dict[str, Any]", value)


def read_as(schema: type[T]) -> Callable[[Request], Any]:
    """A dependency: the body as an instance of a schema. Raises ConfigError with all problems."""

    async def read(request: Request) -> T:
        return from_mapping(schema, await json_body(request), ORIGIN)

    return read


def described(schema: type, form: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What OpenAPI says of a body that `read_as` reads; as a form, its fields are these where they differ."""
    plain = TypeAdapter(schema).json_schema()
    content = {JSON: {"schema": plain}}
    if form is not None:
        content[FORM] = {"schema": {**plain, "properties": {**plain["properties"], **form}}}
    return {"requestBody": {"required": True, "content": content}}


@asynccontextmanager
async def sent_form(request: Request) -> AsyncGenerator[tuple[dict[str, str], dict[str, UploadFile]]]:
    """The texts and the files of a form, by name; what was kept of it is gone after the block."""
    async with request.form(max_files=8, max_fields=64) as form:
        texts: dict[str, str] = {}
        files: dict[str, UploadFile] = {}
        for name, value in form.multi_items():
            if name in texts or name in files:
                raise ConfigError(f"{ORIGIN}: {name[:80]}: given twice. Keep one.")
            if isinstance(value, str):
                texts[name] = value
            else:
                files[name] = value
        check_text(texts)
        yield texts, files


async def sent_file(file: UploadFile) -> AsyncGenerator[bytes]:
    """The content of a file of a form, piece by piece."""
    while chunk := await file.read(_CHUNK):
        yield chunk


def is_form(request: Request) -> bool:
    return _content_type(request) == FORM


def check_text(value: object, depth: int = 0) -> None:
    """Raise ConfigError for text that no UTF-8 file or no file name can hold, and for endless nesting."""
    if depth > _DEEPEST:
        raise ConfigError(f"{ORIGIN}: is nested more than {_DEEPEST} deep. Send it flatter.")
    if isinstance(value, str):
        if "\0" in value or not _is_unicode(value):
            raise ConfigError(f"{ORIGIN}: {value[:80]!r}: holds what is no text (NUL, half of a pair).")
    elif isinstance(value, Mapping):
        for key, each in cast("Mapping[object, object]", value).items():
            check_text(key, depth + 1)
            check_text(each, depth + 1)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            check_text(each, depth + 1)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
