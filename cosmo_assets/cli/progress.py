"""The progress bars of `cosmo run` and `cosmo pilot`.

Belongs here: drawing them. Does not belong here: what they are told (`cosmo_assets.automation.materialize`).
"""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cosmo_assets.cli.terminal import console


class RunProgress:
    """Two bars: runs of the whole, and rows of the asset at work."""

    def __init__(self, runs: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._runs = self._progress.add_task("runs", total=runs)
        self._asset = self._progress.add_task("", total=None, visible=False)
        self._begun = 0

    def begin(self, assets: tuple[str, ...], bucket: str | None) -> None:
        what = assets[0] if len(assets) == 1 else f"{assets[0]} … {assets[-1]}"
        self._progress.update(self._runs, completed=self._begun, description=f"{what} {bucket or ''}".strip())
        self._progress.update(self._asset, visible=False)
        self._begun += 1

    def __call__(self, asset: str, done: int, total: int, unit: str) -> None:
        self._progress.update(self._asset, visible=True, completed=done, total=total, description=f"  {asset}, {unit}")

    def __enter__(self) -> "RunProgress":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._progress.update(self._runs, completed=self._begun, description="done")
        self._progress.update(self._asset, visible=False)
        self._progress.stop()
