"""The directory of a run's checkpoints: names, atomic writing, integrity, retention.

Layout, as Megatron has it::

    iter_0000100/                        one checkpoint, complete from the moment it has this name
    latest_checkpointed_iteration.txt    the step to resume from
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from megatron_fugaku.errors import CheckpointError

TRACKER = "latest_checkpointed_iteration.txt"
FILE_SIZES = "file_sizes.json"
_NAME = re.compile(r"iter_(\d{7,})")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointStore:
    """The checkpoints under one directory. Only one rank calls the methods that write.

    Args:
        directory: need not exist until something is saved.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)

    def path_of(self, iteration: int) -> Path:
        """Return the directory of a complete checkpoint."""
        return self.directory / f"iter_{iteration:07d}"

    def partial_path_of(self, iteration: int) -> Path:
        """Return the directory in which a checkpoint is being written."""
        return self.directory / f".iter_{iteration:07d}.partial"

    def iterations(self) -> list[int]:
        """Return the steps that have a complete checkpoint, ascending."""
        if not self.directory.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.directory.iterdir() if path.is_dir())
        return sorted(int(match[1]) for match in matches if match)

    def latest(self) -> int | None:
        """Return the step to resume from: the tracker's, or None when nothing was saved yet.

        Raises:
            CheckpointError: the tracker names a checkpoint that is not there.
        """
        tracker = self.directory / TRACKER
        if not tracker.is_file():
            # A crash between the rename of the first checkpoint and the first tracker leaves this.
            return self.iterations()[-1] if self.iterations() else None
        text = tracker.read_text(encoding="utf-8").strip()
        if not text.isdigit() or not self.path_of(int(text)).is_dir():
            found = ", ".join(map(str, self.iterations())) or "none"
            raise CheckpointError(f"{tracker} says {text!r}, complete checkpoints are: {found}",
                                  "training would start anew and overwrite them",
                                  "write the step to resume from into that file", str(tracker))
        return int(text)

    def begin(self, iteration: int) -> Path:
        """Make the empty directory into which all ranks write, clearing what a crash left there."""
        partial = self.partial_path_of(iteration)
        try:
            if self.directory.is_dir():
                for leftover in self.directory.glob(".iter_*"):
                    shutil.rmtree(leftover)
            partial.mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(f"{partial} cannot be made: {error.strerror}", "no checkpoint can be written",
                                  "free space there or choose another checkpoint.save", "checkpoint.save") from error
        return partial

    def commit(self, iteration: int, keep_last: int | None = None) -> Path:
        """Give a written checkpoint its name, point the tracker to it, and remove those beyond ``keep_last``."""
        partial, final = self.partial_path_of(iteration), self.path_of(iteration)
        sizes = {str(path.relative_to(partial)): path.stat().st_size
                 for path in sorted(partial.rglob("*")) if path.is_file()}
        (partial / FILE_SIZES).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        _sync(partial)
        replaced = None
        if final.exists():
            replaced = final.with_name(f".{final.name}.replaced")
            os.replace(final, replaced)
        os.replace(partial, final)
        tracker = self.directory / TRACKER
        temporary = tracker.with_name(f".{TRACKER}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f"{iteration}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, tracker)
        _sync(self.directory)
        if replaced:
            shutil.rmtree(replaced)
        if keep_last:
            older = [step for step in self.iterations() if step < iteration]
            for step in older[: max(0, len(older) - keep_last + 1)]:
                shutil.rmtree(self.path_of(step))
        return final

    def check(self, iteration: int) -> Path:
        """Return a checkpoint's directory after comparing the sizes of its files with those written.

        Raises:
            CheckpointError: it does not exist, or files are missing or of another size.
        """
        path = self.path_of(iteration)
        if not path.is_dir():
            found = ", ".join(map(str, self.iterations())) or "none"
            raise CheckpointError(f"{path} does not exist; complete checkpoints there: {found}",
                                  "there is nothing to load", "choose one of them", str(self.directory))
        try:
            sizes = json.loads((path / FILE_SIZES).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path / FILE_SIZES} cannot be read: {error}", "nothing says whether the checkpoint "
                                  "is whole", "use another checkpoint", str(path)) from error
        for name, size in sizes.items():
            found_size = (path / name).stat().st_size if (path / name).is_file() else None
            if found_size != size:
                found = "is missing" if found_size is None else f"has {found_size} bytes"
                raise CheckpointError(f"{path / name} {found}, {size} bytes were written", "the checkpoint is damaged",
                                      f"copy it again, or write an older step into {TRACKER}", str(path))
        return path
