"""The one reader of image files and the one writer of results: whole or not at all."""

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

# How the names of files begin that are not whole yet.
WRITING = ".writing-"


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file so that its final name never holds half of it; durable: not even after a power cut.

    Raises UserError, naming the file, where the disk is full or may not be written to.
    """
    if isinstance(content, str):
        content = to_bytes(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(WRITING + secrets.token_hex(8))
        file = open(temporary, "xb")
        try:
            with file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UserError(f"Cannot write '{path}': {error.strerror}. What was there stays.") from error


def append_whole(path: Path, content: str) -> None:
    """Add to the end of a file, all of it or nothing; UserError, naming the file, where that fails."""
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(to_bytes(content)) < len(to_bytes(content)):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                file.truncate(end)
                raise
    except OSError as error:
        raise UserError(f"Cannot add to '{path}': {error.strerror}. What was there stays.") from error


def to_bytes(text: str) -> bytes:
    """UTF-8; names of files that are not come out as the bytes that they are."""
    return text.encode(errors="surrogateescape")


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path, kind: TypeAdapter) -> object:
    """A JSON file, checked; UserError names the field that does not fit."""
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"'{path}' is not valid: {field or 'JSON'}: {first['msg']}.") from error


@contextlib.contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """A context in which no other process works in this folder; UserError where one does already.

    The system frees the lock when a process ends, however it ends; what a killed one left half-written is
    removed. Makes the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"Another process works in '{folder}': wait for it, stop it, or choose another folder."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot write to '{folder}': {error.strerror}.") from error
    with lock:
        for path in list(folder.rglob(f"{WRITING}*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
