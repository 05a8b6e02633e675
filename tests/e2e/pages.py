"""A page of the documentation as a script: its shell blocks, one after the other, as somebody would type them.

Belongs here: the reader, who has a folder and a shell that remembers its variables. Does not belong here: what a
page's commands are expected to say.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

STAY = re.compile(r"cosmo (lineage|watch)(?!.* --once)")
"""Commands that go on until somebody presses Ctrl-C, which is when they have said something, or after STAY_SECONDS."""

STAY_SECONDS = 20

HERE = re.compile(r"<<-?\s*'?(\w+)'?")


def commands_of(block: str) -> Iterator[str]:
    """The commands of a block, here-documents with theirs."""
    lines = iter(block.splitlines())
    for line in lines:
        command = [line]
        if here := HERE.search(line):
            for further in lines:
                command.append(further)
                if further.strip() == here.group(1):
                    break
        if line.strip():
            yield "\n".join(command)


@dataclass
class Reader:
    """Somebody at a terminal. `means` is what they type for what a page only stands an example for."""

    folder: Path
    variables: dict[str, str]
    means: Mapping[str, str]

    @classmethod
    def at(cls, folder: Path, environment: Mapping[str, str], means: Mapping[str, str]) -> "Reader":
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return cls(folder, {**os.environ, **environment, "PATH": path, "COLUMNS": "250"}, means)

    def type(self, command: str, *, seconds: float = 400) -> str:
        """Run a command; what it exports is there for the next one. What it printed.

        Raises:
            AssertionError: it failed.
        """
        for example, meant in self.means.items():
            command = command.replace(example, meant)
        stays = STAY.match(command)
        program = command if stays else f"{command}\nenv -0 > {self.folder}/.variables\n"
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", program],
            env=self.variables,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        printed = ""
        if stays:
            assert process.stdout is not None
            if select.select([process.stdout], [], [], STAY_SECONDS)[0]:
                printed = process.stdout.readline()
            assert process.poll() is None, f"{command} has ended\n{printed}"
            os.killpg(process.pid, signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        printed += rest
        if stays:
            assert printed.strip(), f"{command} says nothing"
            return printed
        assert process.returncode == 0, f"{command}\n{printed}"
        pairs = (self.folder / ".variables").read_text(encoding="utf-8").split("\0")
        self.variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return printed
