"""Put a backup back: data, state and, where it was in Postgres, Dagster's record. Run with the settings of the service
that shall go on with them.

Belongs here: the order of putting back, and refusing to mix with what is there. Does not belong here: what a backup is
(`backup.py`), or telling Dagster what the record lacks (`cosmo adopt`).
"""

import os
import shutil
import sys
from pathlib import Path

import click
from backup import CONFIGURATION, CONTENTS, DATA, DUMP, STATE, postgres, uses_postgres

from cosmo_resources.deployments import Settings, settings
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.snapshot import Snapshot, take_snapshot


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--configuration", type=click.Path(path_type=Path), help="Folder for recipe and settings, too.")
def main(backup: Path, configuration: Path | None) -> None:
    """Put BACKUP, a folder that backup.py made, into COSMO_DATA, COSMO_STATE and the database of PGDATABASE; they must
    be empty. No process of the service may run."""
    try:
        found = restore(settings(os.environ), backup, configuration)
    except CosmoError as error:
        sys.exit(f"error {error.message}\nremedy {error.remedy}")
    for name, snapshot in found.items():
        click.echo(f"{name}: {snapshot.versions} versions, {snapshot.bytes} bytes, every checksum compared")
    if damaged := [f"{name}/{line}" for name, snapshot in found.items() for line in snapshot.damaged]:
        sys.exit("\n".join(["damaged in the backup, and not put back:", *damaged]))
    click.echo("now run `cosmo adopt`: it tells Dagster what was published after its record was copied")


def restore(chosen: Settings, backup: Path, configuration: Path | None = None) -> dict[str, Snapshot]:
    """Put a backup back into empty places.

    Returns: what was put back, by corpus.

    Raises:
        CosmoError: it is not whole, or something is there already; then nothing was changed.
    """
    if not (backup / CONTENTS).is_file():
        raise CosmoError(f"{backup}: no whole backup", remedy=f"name a folder with a {CONTENTS}")
    places = [chosen.data, chosen.state, *([configuration] if configuration else [])]
    for place in places:
        if place.is_dir() and any(place.iterdir()):
            raise CosmoError(f"{place} is not empty", remedy="restore into an empty folder; move this one away first")
    dump = backup / DUMP
    if dump.is_file() != uses_postgres(os.environ):
        there, here = ("Postgres", "SQLite") if dump.is_file() else ("SQLite", "Postgres")
        click.echo(f"the record was in {there}, this instance uses {here}: it begins empty, `cosmo adopt` fills it")
    elif dump.is_file():
        flags = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
        postgres("pg_restore", *flags, f"--dbname={os.environ['PGDATABASE']}", str(dump))
    found = {path.name: take_snapshot(path, chosen.data / path.name) for path in sorted((backup / DATA).glob("*"))}
    shutil.copytree(backup / STATE, chosen.state, dirs_exist_ok=True)
    if configuration:
        shutil.copytree(backup / CONFIGURATION, configuration, dirs_exist_ok=True)
    return found


if __name__ == "__main__":
    main()
