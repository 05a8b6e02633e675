"""What a source of a recipe consists of: its units, each with the digest of its content, and the rows of one.

Belongs here: from the path in a recipe to what a reader is given. Does not belong here: formats (the modules beside
it), or what becomes of the rows (`cosmo_assets.seeds.documents`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import TextSource
from cosmo_assets.seeds.readers.base import RawSeed, Row
from cosmo_assets.seeds.readers.hf_dataset import hub_dataset
from cosmo_assets.seeds.readers.registry import check_options, read
from cosmo_resources.errors import CosmoError
from cosmo_resources.hub import HUB, HubPath, read_hub_path
from cosmo_resources.storage.digest import digest, files_digest

BOOKS = "books.xml"
"""The file that stands for a folder with books."""


@dataclass(frozen=True)
class Unit:
    """The least part of a source that is read by itself: a file, a folder that is one document collection (a book, a
    saved dataset), or a dataset of the hub.

    `name` is the same on every machine and whatever other units there are: a path relative to where the recipe's
    pattern starts. `files` are all that its content depends on, sorted; a dataset of the hub has none here.
    """

    name: str
    place: Path | HubPath
    root: Path
    files: tuple[Path, ...]

    def digest(self) -> str:
        """Digest of the content: of the files' relative names and bytes, or of the hub's name and commit, which stand
        for the content. Cost: every byte of the files is read.

        Raises:
            CosmoError: a file is gone or cannot be read.
        """
        if isinstance(self.place, HubPath):
            return digest(str(self.place))
        try:
            return files_digest(self.files, relative_to=self.root)
        except OSError as error:
            raise CosmoError(
                f"{error.filename or self.place}: cannot be read: {error.strerror or error}",
                remedy="check the file and its rights, and run the same command again",
            ) from error

    @contextmanager
    def unchanged(self, content: str) -> Iterator[None]:
        """Hold on to a content, by its digest, while the unit is read.

        Cost: every byte of the files is read once more.

        Raises:
            CosmoError: at the end, if the content is another or a file of it was written to meanwhile.
        """
        before = self._stamps()
        yield
        if self._stamps() != before or self.digest() != content:
            raise CosmoError(
                f"{self.place}: it changed while it was read; nothing of it was kept",
                remedy="run the same command again when it is no longer written to",
            )

    def _stamps(self) -> list[tuple[Path, int, int]] | None:
        """The files that it consists of now, with size and time of change; None if they are not `files` any more."""
        if isinstance(self.place, HubPath):
            return []
        try:
            if tuple(_files(self.place)) != self.files:
                return None
            return [(path, (facts := path.stat()).st_size, facts.st_mtime_ns) for path in self.files]
        except OSError:
            return None


def units(recipe: Recipe, source: TextSource) -> list[Unit]:
    """The units of a source, sorted by name. Nothing is opened, and no network is asked.

    Raises:
        CosmoError: as `Recipe.paths`; or a path of the hub names no commit, or goes with another reader.
    """
    if source.path.startswith(HUB) and source.reader != "hf_dataset":
        raise CosmoError(
            f"recipe {recipe.name}, {source.field}.{source.name}: reader {source.reader} reads files, "
            f"not {source.path!r}",
            remedy="set reader: hf_dataset",
        )
    return located_units(
        recipe, source.path, field=f"{source.field}.{source.name}.path", folder=source.reader == "hf_dataset"
    )


def located_units(recipe: Recipe, path: str, *, field: str, folder: bool = False) -> list[Unit]:
    """The units that a path of a recipe names, sorted by name; `field` is where it stands. Nothing is opened, and no
    network is asked.

    Raises:
        CosmoError: as `Recipe.located`; or a path of the hub names no commit.
    """
    if path.startswith(HUB):
        place = read_hub_path(path, f"recipe {recipe.name}, {field}", kind="dataset")
        return [Unit(name=str(place), place=place, root=Path(), files=())]
    root, found = recipe.located(path, field=field, folder=folder)
    return [_unit(root, each) for each in found]


def rows(source: TextSource, unit: Unit) -> Iterator[Row]:
    """The rows of one unit of a source, in order. A reader names a file by the last part of its path; here the name of
    the unit stands for it, in places, and in the native id of a document that is known by its file alone. A document
    whose reader says no place stands in the unit.

    Raises:
        CosmoError: at once for an unknown reader or option; at the first row for a unit of which nothing can be read.
    """
    if isinstance(unit.place, HubPath):
        check_options(source.name, source.reader, source.options)
        return (
            _renamed(row, "", "", unit.name)
            for row in hub_dataset(unit.place.name, unit.place.revision, source.options)
        )
    known, name = unit.place.name, unit.name
    if known == BOOKS:  # a folder: places are paths in it
        known, name = "", name.removesuffix(f"META-INF/{BOOKS}")
    found = read(source.name, source.reader, unit.place, source.options)
    if known == name or unit.place.is_dir():
        known = name = ""
    return (_renamed(row, known, name, unit.name) for row in found)


def _renamed(row: Row, known: str, name: str, unit: str) -> Row:
    """A row with the name of its unit where the file's stood (`known` and `name` are empty where it is the same)."""
    place = row.place or unit
    place = name + place.removeprefix(known) if row.place and place.startswith(known) else place
    if isinstance(row, RawSeed):
        return replace(row, place=place, native_id=name if known and row.native_id == known else row.native_id)
    return replace(row, place=place) if place != row.place else row


def _unit(root: Path, path: Path) -> Unit:
    whole = _whole(path)
    return Unit(path.relative_to(root).as_posix(), path, root if whole is None else whole, tuple(_files(path)))


def _whole(place: Path) -> Path | None:
    """The folder that a unit is, None for one that is a file."""
    whole = place.parent.parent if place.name == BOOKS else place
    return whole if whole.is_dir() else None


def _files(place: Path) -> list[Path]:
    """The files of a unit, sorted."""
    whole = _whole(place)
    if whole is None:
        return [place]
    hidden = {file for file in whole.rglob("*") if any(part.startswith(".") for part in file.relative_to(whole).parts)}
    return sorted(file for file in whole.rglob("*") if file.is_file() and file not in hidden)  # no .git, no .cache
