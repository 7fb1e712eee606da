"""What OpenAPI says of the studio is true: it is attacked along its own description."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from .studio_clients import ADDRESS, add_video, calling, finish, png, studio_of

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
FEW = settings(
    max_examples=5,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("studio")) as caller:
        yield caller


@pytest.fixture(scope="module")
def description(client):
    return schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"host": "127.0.0.1"})


@pytest.fixture
def attack(client, description):
    """Call all operations with what the description allows, or does not, and look at what comes back."""

    def attack_all(mode: GenerationMode, **known: str) -> int:
        attacked = 0
        for operation in [each.ok() for each in description.get_all_operations()]:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue  # all that can be sent is allowed

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def call(case: schemathesis.Case) -> None:
                there = {name: known[name] for name in case.path_parameters if name in known}
                case.path_parameters = {**case.path_parameters, **there}
                case.call_and_validate(base_url=ADDRESS, checks=CHECKS)

            call()
            attacked += 1
        return attacked

    return attack_all


def test_requests_that_the_description_allows_are_answered_as_it_says(attack):
    assert attack(GenerationMode.POSITIVE) > 20


def test_requests_that_it_does_not_allow_are_refused_as_it_says(attack):
    assert attack(GenerationMode.NEGATIVE) > 10


def test_what_is_there_is_answered_as_it_says(client, attack):
    """With the ids of a video that is done and of one that waits."""
    upload = client.post("/v1/uploads", files={"file": ("a", png())}).json()["id"]
    made = add_video(client)
    finish(studio_of(client), {"video.mp4": b"clip"})
    attack(GenerationMode.POSITIVE, video_id=made, job_id=made, upload_id=upload)


def test_the_token_is_part_of_the_description(tmp_path: Path):
    with calling(tmp_path, token="a-token-of-24-characters") as client:
        shown = {"authorization": "Bearer a-token-of-24-characters"}
        description = client.get("/openapi.json", headers=shown).json()
    assert description["components"]["securitySchemes"] == {
        "HTTPBearer": {"type": "http", "scheme": "bearer"}
    }
    assert all(each.get("security") for path in description["paths"].values() for each in path.values())
