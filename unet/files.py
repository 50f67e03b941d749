"""Files written whole or not at all, JSON, and a lock for folders."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from unet.errors import UserError

TEMPORARY = ".writing-"  # start of the names of unfinished files
LOCK = ".lock"


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file so that it is never half-written: if durable, not even after a power cut. Its folder is created.
    UserError if the disk is full or not writable; an old file is unchanged then."""
    if isinstance(content, str):
        # File names that are not UTF-8 become their original bytes.
        content = content.encode(errors="surrogateescape")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(TEMPORARY + secrets.token_hex(8))
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"Cannot write '{path}': {error.strerror}. The old file is unchanged.") from error


def is_utf8(name: str) -> bool:
    """Whether the name of a file is valid text: Linux allows any bytes in it."""
    return name.encode(errors="ignore").decode() == name


def append_whole(path: Path, content: str) -> None:
    """Append to a file, all of the content or nothing; UserError if the disk is full or not writable."""
    encoded = content.encode(errors="surrogateescape")
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(encoded) < len(encoded):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                file.truncate(end)
                raise
    except OSError as error:
        raise UserError(f"Cannot append to '{path}': {error.strerror}. The old content is unchanged.") from error


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path, kind: TypeAdapter) -> object:
    """Content of a JSON file, validated as `kind`; UserError names the invalid field."""
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"'{path}' is not valid: {field or 'JSON'}: {first['msg']}.") from error


@contextlib.contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """A context in which no other process works in this folder. It is created, and a killed process's unfinished files
    are removed. UserError if another process works in it, or it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The system releases the lock however the process ends.
        lock = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"Another process is working in '{folder}': wait for it, stop it, or choose another folder."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot write to '{folder}': {error.strerror}.") from error
    with lock:
        remove_unfinished(folder)
        yield


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process left unfinished in a folder and its subfolders, except in those with a lock of their
    own, in which another process may be working."""
    for here, folders, files in os.walk(folder):
        for name in (name for name in files if name.startswith(TEMPORARY)):
            Path(here, name).unlink(missing_ok=True)
        for name in (name for name in folders if name.startswith(TEMPORARY)):
            shutil.rmtree(Path(here, name), ignore_errors=True)
        folders[:] = [name for name in folders if not Path(here, name, LOCK).exists()]
