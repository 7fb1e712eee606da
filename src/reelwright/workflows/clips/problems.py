"""What is wrong with the prompts of a run, collected to be told at once."""

from collections.abc import Generator
from contextlib import contextmanager

from reelwright.core.errors import ConfigError, FileError, UserError


class Problems:
    """Errors that say the same are told once."""

    def __init__(self) -> None:
        self._errors: dict[str, UserError] = {}

    @contextmanager
    def of(self, origin: str) -> Generator[None, None, None]:
        """Keep an error of the block, with where it comes from before each of its lines."""
        try:
            yield
        except (ConfigError, FileError) as error:
            self.add(error, f"{origin}: " if origin else "")

    def add(self, error: UserError, prefix: str = "") -> None:
        lines = str(error).splitlines()
        said = "\n".join(line if line.startswith(prefix) else f"{prefix}{line}" for line in lines)
        self._errors.setdefault(said, error)

    @property
    def lines(self) -> list[str]:
        return [line for said in self._errors for line in said.splitlines()]

    def raise_all(self) -> None:
        """Raise one error with all that was kept, if anything was."""
        if self._errors:
            kinds = [type(error) for error in self._errors.values()]
            kind = ConfigError if ConfigError in kinds else kinds[0]
            raise kind("\n".join(self._errors)) from next(iter(self._errors.values()))
