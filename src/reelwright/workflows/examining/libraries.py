"""The libraries that Reelwright needs or can use, with their versions."""

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement

from reelwright.core.events import ItemFinding
from reelwright.workflows.examining.findings import Examined, problem

_PACKAGE = "reelwright"
_FOR_DEVELOPERS = "dev"


def examine_libraries() -> Examined:
    """What the package itself says that it needs, and what each of its extras has."""
    wanted = [Requirement(text) for text in metadata.requires(_PACKAGE) or ()]
    facts: dict[str, str] = {}
    problems: list[ItemFinding] = []
    for needed in (each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})):
        version = _version(needed)
        facts[needed.name] = version or "missing"
        if version is None or not needed.specifier.contains(version, prereleases=True):
            has = "is not installed" if version is None else f"is {version}"
            what = f"{needed.name} {has}, but {needed.name}{needed.specifier} is needed"
            problems.append(
                problem(needed.name, "library", what, f"pip install '{needed.name}{needed.specifier}'")
            )
    for extra in _extras():
        facts[f"extra {extra}"] = _state(extra, [each for each in wanted if _is_of(each, extra)])
    return Examined(facts=facts, problems=tuple(problems))


def _extras() -> list[str]:
    named = metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []
    return sorted(name for name in named if name != _FOR_DEVELOPERS)


def _is_of(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None or requirement.name == _PACKAGE:
        return False
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _state(extra: str, requirements: Iterable[Requirement]) -> str:
    versions = {each.name: _version(each) for each in requirements}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    absent = ", ".join(name for name, version in versions.items() if version is None)
    if not absent:
        return there
    return "; ".join(
        filter(None, [there, f"without {absent}: pip install '{_PACKAGE}[{extra}]' if you want it"])
    )


def _version(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None
