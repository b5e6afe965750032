"""What a planted bug is."""

from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """One place of the package, changed as an engineer could have written it by mistake."""

    name: str
    file: str  # in src/lastlayer
    old: str  # occurs there exactly once
    new: str
    why: str
    first: str  # the test that is likeliest to fail, which runs before all others

    def plant(self, package: Path) -> None:
        """Change a copy of the package."""
        path = package / self.file
        source = path.read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"{self.name}: {source.count(self.old)} places in {self.file}, not one"
        path.write_text(source.replace(self.old, self.new), encoding="utf-8")
