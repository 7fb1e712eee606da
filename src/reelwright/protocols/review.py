"""How a family decides what a configuration leaves open: adjusted, refused, or with a remark."""

from dataclasses import replace
from typing import Generic, TypeVar

from reelwright.core.errors import ConfigError
from reelwright.protocols.configs import GenerateConfig

C = TypeVar("C", bound=GenerateConfig)


class Review(Generic[C]):
    """A configuration on its way to being legal, and what was said about it."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.notices: list[str] = []
        self._problems: list[str] = []

    def set(self, **values: object) -> None:
        self.config = replace(self.config, **values)  # pyright: ignore[reportArgumentType]

    def refuse(self, message: str) -> None:
        self._problems.append(message)

    def adjust(self, key: str, value: object, message: str) -> None:
        """Use another value and say so; under --strict, refuse."""
        if self.config.strict:
            self.refuse(f"{message} The nearest is {value}.")
            return
        self.set(**{key: value})
        self.notices.append(f"{message} Using {value}.")

    def raise_problems(self) -> None:
        """Raise one ConfigError with everything that was refused."""
        if self._problems:
            raise ConfigError("\n".join(self._problems))
