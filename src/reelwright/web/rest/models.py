"""/v1/models: what videos can be made with."""

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter

from reelwright import families
from reelwright.protocols.variant import Variant
from reelwright.web.studio import Studio


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model by the name that `model` of a video takes."""

    id: str
    object: Literal["model"] = "model"
    title: str
    license: str
    owned_by: str
    """The family."""


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """All models that are known by name; hub ids and folders do as well."""

    object: Literal["list"] = "list"
    data: list[Model]


def routes(studio: Studio) -> APIRouter:
    """The routes, over a studio."""
    router = APIRouter(prefix="/models", tags=["models"])

    @router.get("")
    def list_models() -> ModelList:
        """List the models of all families, whether their files are here or not."""
        return ModelList(data=[_model(family, each) for family, each in _variants()])

    return router


def _variants() -> list[tuple[str, Variant]]:
    return [(family, each) for family in families.names() for each in families.configs(family).VARIANTS]


def _model(family: str, variant: Variant) -> Model:
    name = f"{family}/{variant.name}"
    return Model(id=name, title=variant.title, license=variant.license, owned_by=family)
