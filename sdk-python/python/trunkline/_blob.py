"""Blobs: large content by reference, for coroutines and for threads."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from ._duration import given

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._runtime import Runtime

    Content = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class BlobRef:
    """Names a blob: what events carry in place of its bytes."""

    id: str
    """``sha256:…``, the same for the same content."""
    bytes: int
    """How many bytes it has."""
    media_type: str | None = None
    """What it is, such as ``image/png``."""


def blob_ids(blobs: Iterable[BlobRef | str] | None) -> list[str] | None:
    """Gives the names of blobs; none for none."""
    ids = [blob.id if isinstance(blob, BlobRef) else blob for blob in blobs or ()]
    return ids or None


def blob_id(blob: BlobRef | str) -> dict[str, Any]:
    return {"id": blob.id if isinstance(blob, BlobRef) else blob}


def blob_of(found: dict[str, Any]) -> BlobRef:
    return BlobRef(found["id"], found["bytes"], found.get("media_type"))


def _spool(content: bytes | bytearray | memoryview | BinaryIO) -> str:
    """Writes content to a file, which alone crosses to the core."""
    number, path = tempfile.mkstemp(prefix="trunkline-put-")
    try:
        with os.fdopen(number, "wb") as file:
            if isinstance(content, (bytes, bytearray, memoryview)):
                file.write(content)
            else:
                while chunk := content.read(_CHUNK_BYTES):
                    file.write(chunk)
    except BaseException:
        os.unlink(path)
        raise
    return path


@contextmanager
def _path_of(content: Content) -> Generator[str]:
    if isinstance(content, str):
        raise TypeError("expected bytes, a path object or a file, found a str; use Path(...)")
    if isinstance(content, os.PathLike):
        yield os.path.abspath(content)
        return
    path = _spool(content)
    try:
        yield path
    finally:
        os.unlink(path)


def _open(found: dict[str, Any]) -> IO[bytes]:
    try:
        return open(found["path"], "rb")
    finally:
        if found["temporary"]:
            os.unlink(found["path"])


def _read(found: dict[str, Any]) -> bytes:
    with _open(found) as file:
        return file.read()


class Blobs:
    """The broker's blobs."""

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    async def put(self, content: Content, *, media_type: str | None = None) -> BlobRef:
        """Puts bytes, the file at a path, or what a binary file gives; durable when this returns.

        Name it in an event (``blobs=[blob]``), or it goes after a day. The parts of a standard
        message name their blobs by themselves.

        Args:
            content: Bytes, a path object, or an open binary file. A ``str`` is refused: nobody
                could tell a path from a text.
            media_type: What it is, such as ``image/png``.

        Raises:
            QuotaExceeded: Too much is kept already.
            StorageFull: The disk has no room.
        """
        made = _path_of(content)
        path = await asyncio.to_thread(made.__enter__)
        try:
            args = {"path": path, **given(media_type=media_type)}
            return blob_of(await self._runtime.call(self._target, "blob.put", args))
        finally:
            made.__exit__(None, None, None)

    async def get(self, blob: BlobRef | str) -> bytes:
        """Reads a whole blob into memory; see :meth:`open` for large ones.

        Raises:
            NotFound: There is none, or this peer may not read it.
        """
        found = await self._runtime.call(self._target, "blob.open", blob_id(blob))
        return await asyncio.to_thread(_read, found)

    async def open(self, blob: BlobRef | str) -> IO[bytes]:
        """Opens a blob as a binary file, without reading it."""
        return _open(await self._runtime.call(self._target, "blob.open", blob_id(blob)))

    async def stat(self, blob: BlobRef | str) -> BlobRef:
        """Describes a blob."""
        return blob_of(await self._runtime.call(self._target, "blob.stat", blob_id(blob)))


class SyncBlobs:
    """The broker's blobs, for functions that block; see :class:`Blobs`."""

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    def put(self, content: Content, *, media_type: str | None = None) -> BlobRef:
        """Puts bytes, the file at a path, or what a binary file gives. See :meth:`Blobs.put`."""
        with _path_of(content) as path:
            args = {"path": path, **given(media_type=media_type)}
            return blob_of(self._runtime.call_blocking(self._target, "blob.put", args))

    def get(self, blob: BlobRef | str) -> bytes:
        """Reads a whole blob into memory."""
        return _read(self._runtime.call_blocking(self._target, "blob.open", blob_id(blob)))

    def open(self, blob: BlobRef | str) -> IO[bytes]:
        """Opens a blob as a binary file, without reading it."""
        return _open(self._runtime.call_blocking(self._target, "blob.open", blob_id(blob)))

    def stat(self, blob: BlobRef | str) -> BlobRef:
        """Describes a blob."""
        return blob_of(self._runtime.call_blocking(self._target, "blob.stat", blob_id(blob)))
