"""A backup of an installation: data, Dagster's record, state, configuration. Run with the settings of the service.

Belongs here: what makes up a backup, in which order it is taken, how many are kept. Does not belong here: how a corpus
is copied while it is built (`cosmo_resources.storage.snapshot`), or putting it back (`restore.py`).

The record is copied before the data: so everything that it says to be there is there, and what was published since is
told to it by `cosmo adopt`. A backup appears under its time only when it is whole.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import yaml

from cosmo_assets.recipe.recipe import load_recipe
from cosmo_resources.deployments import POOLS, Settings, settings
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import exclusive, sync, write_text
from cosmo_resources.storage.garbage import READER
from cosmo_resources.storage.snapshot import take_snapshot
from cosmo_resources.storage.store import CorpusStore

DATA, STATE, CONFIGURATION = "data", "state", "configuration"
DUMP = "record.dump"
"""Dagster's record in Postgres, as pg_dump writes it; one in SQLite is part of the state."""
CONTENTS = "backup.json"

NAME = re.compile(r"\d{8}T\d{6}Z")
UNFINISHED = "unfinished-"
SQLITE = b"SQLite format 3\0"
SIDECARS = ("-wal", "-shm", "-journal")
SECRET = re.compile(r"^(\s*\w*(?:PASSWORD|SECRET|TOKEN|KEY|NOTIFY_URL)\w*\s*=).*$", re.MULTILINE | re.IGNORECASE)
USERINFO = re.compile(r"://[^/\s@]+@")


@click.command()
@click.option("--to", "place", type=click.Path(path_type=Path), required=True, help="Folder of all backups.")
@click.option("--keep", default=0, help="Remove all but the last so many. Default: remove none.")
@click.option("--also", multiple=True, type=click.Path(path_type=Path, exists=True), help="A file or folder, too.")
def main(place: Path, keep: int, also: tuple[Path, ...]) -> None:
    """Back up what COSMO_DATA, COSMO_STATE, COSMO_RECIPE, COSMO_DEPLOYMENT and DAGSTER_HOME name."""
    try:
        folder, contents = back_up(settings(os.environ), place.absolute(), also)
        removed = prune(place, keep) if keep else []
    except CosmoError as error:
        sys.exit(f"error {error.message}\nremedy {error.remedy}")
    for name, found in contents["corpora"].items():
        click.echo(
            f"{name}: {found['versions']} versions, {found['linked']} of them linked, {found['bytes']} bytes written"
        )
    click.echo(f"{folder}: whole; {len(removed)} older ones removed")
    if damaged := [f"{name}/{line}" for name, found in contents["corpora"].items() for line in found["damaged"]]:
        sys.exit("\n".join(["damaged, and therefore not in the backup (see `cosmo doctor --deep`):", *damaged]))


def back_up(chosen: Settings, place: Path, also: Sequence[Path] = ()) -> tuple[Path, dict[str, Any]]:
    """Take a backup into a folder of its own below `place`, linked to the last one there where nothing has changed.

    Returns: the folder, and what it holds.

    Raises:
        CosmoError: a part cannot be copied; an earlier backup is not touched.
    """
    place.mkdir(parents=True, exist_ok=True)
    with exclusive(place / "lock", wait=False) as alone:
        if not alone:
            raise CosmoError(f"{place}: another backup is being taken", remedy="wait for it")
        for leftover in place.glob(f"{UNFINISHED}*"):
            shutil.rmtree(leftover)
        taken = datetime.now(UTC)
        earlier = max(backups(place), default=None)
        folder = place / f"{UNFINISHED}{taken:%Y%m%dT%H%M%SZ}"
        folder.mkdir(mode=0o700)
        with_dump = _dump_record(folder / DUMP)
        _copy_state(chosen.state, folder / STATE)
        corpora = {}
        for path in _corpora(chosen.data):
            with CorpusStore(path).hold(f"{READER}{uuid.uuid4().hex}"):  # nothing is collected meanwhile
                before = earlier / DATA / path.name if earlier else None
                corpora[path.name] = asdict(take_snapshot(path, folder / DATA / path.name, before))
        sources = _copy_configuration(chosen, folder / CONFIGURATION, also)
        contents = {"taken": taken.isoformat(), "record": with_dump, "corpora": corpora, "configuration": sources}
        write_text(folder / CONTENTS, json.dumps(contents, indent=1) + "\n")
        whole = place / folder.name.removeprefix(UNFINISHED)
        folder.rename(whole)
        sync(place)
    return whole, contents


def backups(place: Path) -> list[Path]:
    """The whole backups in a folder."""
    return [path for path in place.iterdir() if NAME.fullmatch(path.name) and (path / CONTENTS).is_file()]


def prune(place: Path, keep: int) -> list[Path]:
    """Remove all but the last `keep` backups. What later ones share with them stays: it is linked."""
    old = sorted(backups(place))[:-keep]
    for path in old:
        shutil.rmtree(path)
    return old


def _corpora(data: Path) -> list[Path]:
    return sorted(path for path in data.iterdir() if path.is_dir() and path.name != POOLS) if data.is_dir() else []


def uses_postgres(environment: Mapping[str, str]) -> bool:
    """Whether the instance of DAGSTER_HOME, or of this folder, keeps its record in Postgres.

    Raises:
        CosmoError: there is no instance.
    """
    path = Path(environment.get("DAGSTER_HOME") or ".") / "dagster.yaml"
    if not path.is_file():
        raise CosmoError(f"{path}: no Dagster instance", remedy="set DAGSTER_HOME, as in the settings of the service")
    return "postgres" in (yaml.safe_load(path.read_text(encoding="utf-8")).get("storage") or {})


def _dump_record(target: Path) -> bool:
    """Write the record if it is in Postgres: one snapshot of the whole database, while it is in use."""
    if not uses_postgres(os.environ):
        return False
    postgres("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
    return True


def postgres(*command: str) -> None:
    """Run a client of Postgres, which finds server, database and password in libpq's variables.

    Raises:
        CosmoError: it is not installed, or it failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CosmoError(f"{command[0]} is not installed", remedy="install the client of Postgres") from error
    if done.returncode:
        raise CosmoError(
            f"{command[0]}: {done.stderr.strip()}",
            remedy="compare PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD with the server, and its version with it",
        )


def _copy_state(state: Path, target: Path) -> None:
    """Copy the state. SQLite's own backup copies its databases; event logs come before the list of runs, so that every
    event in the copy has its run."""
    target.mkdir()
    databases = [path for path in _files(state) if _is_sqlite(path)]
    for path in sorted(databases, key=lambda path: -len(path.parts)):
        copy = target / path.relative_to(state)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=60)) as source, closing(sqlite3.connect(copy)) as destination:
            source.backup(destination)
    for path in _files(state):
        if path not in databases and not path.name.endswith(SIDECARS):
            copy = target / path.relative_to(state)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE


def _copy_configuration(chosen: Settings, target: Path, also: Sequence[Path]) -> dict[str, str]:
    """Copy recipe, templates, deployment file, the instance's dagster.yaml, and what else is named; sources stay where
    they are. Files below the recipe's folder keep their place beside it, so that the copy is a recipe that works.

    Returns: where each came from.
    """
    wanted = _files_of_recipe(chosen.recipe)
    if Path(chosen.deployment).suffix in (".yaml", ".yml"):
        wanted[Path("deployment", Path(chosen.deployment).name)] = Path(chosen.deployment)
    wanted[Path("dagster.yaml")] = Path(os.environ.get("DAGSTER_HOME") or ".") / "dagster.yaml"
    wanted |= {Path("also", path.name): path for path in also}
    for name, path in wanted.items():
        for file in _files(path) if path.is_dir() else [path]:
            copy = target / name / file.relative_to(path) if path.is_dir() else target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            copy.write_bytes(_without_secrets(content) if path in also else content)
    return {str(name): str(path) for name, path in wanted.items()}


def _files_of_recipe(name: str) -> dict[Path, Path]:
    """The recipe's file and what it names, by their places in the copy; nothing, where it is shipped with Cosmo."""
    path = Path(name).resolve()
    if path.suffix not in (".yaml", ".yml"):
        return {}
    wanted = {Path("recipe", path.name): path}
    try:
        recipe = load_recipe(str(path))
    except CosmoError:  # half edited; that is no reason to go without a backup
        return wanted
    overrides = recipe.topics.policy.overrides_file
    for named in (*recipe.prompts.template_folders, *([overrides] if overrides else [])):
        found = (recipe.folder / os.path.expandvars(named)).resolve()
        inside = found.is_relative_to(recipe.folder)
        wanted[Path("recipe", found.relative_to(recipe.folder)) if inside else Path("beside", found.name)] = found
    return wanted


def _without_secrets(content: bytes) -> bytes:
    """A file without the values of variables that are called a password, secret, token or key, and without the user in
    an address: they belong where passwords are kept."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    return USERINFO.sub("://", SECRET.sub(r"\1", text)).encode("utf-8")


if __name__ == "__main__":
    main()
