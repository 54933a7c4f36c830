"""The state store, for coroutines and for threads."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from ._duration import Duration, duration, given
from ._members import Entry, KeyChange

if TYPE_CHECKING:
    from ._runtime import Runtime


class _Store:
    __slots__ = ("_runtime", "_target", "_scope")

    def __init__(self, runtime: Runtime, target: int, scope: str = "own") -> None:
        self._runtime = runtime
        self._target = target
        self._scope = scope

    def _args(self, **args: Any) -> dict[str, Any]:
        return {"scope": self._scope, **args}


def _entry(key: str, found: dict[str, Any] | None) -> Entry | None:
    return None if found is None else Entry(key, found["value"], found["revision"])


class Kv(_Store):
    """The state of an instance (a client's: the client's), of a plugin, of all, or of a session."""

    __slots__ = ()

    @property
    def plugin(self) -> Kv:
        """The state that all instances of the plugin share."""
        return Kv(self._runtime, self._target, "plugin")

    @property
    def workspace(self) -> Kv:
        """The state that everybody with the grant shares."""
        return Kv(self._runtime, self._target, "workspace")

    async def get(self, key: str, default: Any = None) -> Any:
        """Gives the value of a key, or ``default``."""
        found = await self.entry(key)
        return default if found is None else found.value

    async def entry(self, key: str) -> Entry | None:
        """Gives a key with its revision; ``None`` if it is not there."""
        return _entry(key, await self._call("kv.get", self._args(key=key)))

    async def require(self, key: str) -> Any:
        """Gives the value of a key that must be there.

        Raises:
            NotFound: It is not there.
        """
        return await self._call("kv.require", self._args(key=key))

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Gives the values of several keys, each read by itself; those that are not there are left out."""
        found = await self._call("kv.get_many", self._args(keys=list(keys)))
        return {each["key"]: each["value"] for each in found}

    async def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: Duration | None = None,
        if_revision: int | None = None,
    ) -> int:
        """Sets a key; gives its revision.

        Args:
            key: The key.
            value: Any JSON value.
            ttl: After how long it is forgotten.
            if_revision: Sets it only if this is its revision; 0 if it is not there.

        Raises:
            RevisionConflict: It has another revision.
            QuotaExceeded: The value has more than 256 KiB, or too much is kept already.
        """
        options = given(ttl=duration(ttl), if_revision=if_revision)
        args = self._args(key=key, value=value, **options)
        found: int = await self._call("kv.put", args)
        return found

    async def put_bytes(
        self,
        key: str,
        value: bytes,
        *,
        ttl: Duration | None = None,
        if_revision: int | None = None,
    ) -> int:
        """Sets a key to bytes, kept as a text in base64; gives its revision. See :meth:`put`."""
        text = base64.b64encode(value).decode()
        return await self.put(key, text, ttl=ttl, if_revision=if_revision)

    async def get_bytes(self, key: str) -> bytes | None:
        """Gives the bytes of a key, or ``None``.

        Raises:
            InvalidPayload: Its value is no bytes.
        """
        found = await self._call("kv.get_bytes", self._args(key=key))
        return None if found is None else base64.b64decode(found)

    async def delete(self, key: str, *, if_revision: int | None = None) -> None:
        """Deletes a key."""
        await self._call("kv.delete", self._args(key=key, **given(if_revision=if_revision)))

    async def list(self, prefix: str = "") -> list[Entry]:
        """Gives all keys that begin with a prefix, with their values."""
        found = await self._call("kv.list", self._args(prefix=prefix))
        return [Entry(each["key"], each["value"], each["revision"]) for each in found]

    async def update(
        self, key: str, change: Callable[[Any], Any], *, ttl: Duration | None = None
    ) -> Any:
        """Changes a key by comparing and setting, as often as others interfere.

        Args:
            key: The key.
            change: Gets the value, or ``None``, and gives the new one. It runs on the loop.
            ttl: After how long the key is forgotten.

        Returns:
            The new value.
        """
        number = self._runtime.function(change)
        try:
            args = self._args(key=key, function=number, **given(ttl=duration(ttl)))
            return await self._call("kv.update", args)
        finally:
            self._runtime.drop(number)

    async def watch(self, prefix: str = "") -> AsyncIterator[KeyChange]:
        """Gives every change of the keys that begin with a prefix, from now on."""
        made = await self._call("kv.watch", self._args(prefix=prefix))
        handle: int = made["watch"]
        try:
            while (found := await self._runtime.call(handle, "next", {})) is not None:
                yield KeyChange(
                    found["key"], found["revision"], found.get("value"), found["deleted"]
                )
        finally:
            self._runtime.forget(handle)

    async def _call(self, name: str, args: dict[str, Any]) -> Any:
        return await self._runtime.call(self._target, name, args)


class SyncKv(_Store):
    """The state store in a function that blocks; see :class:`Kv`."""

    __slots__ = ()

    @property
    def plugin(self) -> SyncKv:
        """The state that all instances of the plugin share."""
        return SyncKv(self._runtime, self._target, "plugin")

    @property
    def workspace(self) -> SyncKv:
        """The state that everybody with the grant shares."""
        return SyncKv(self._runtime, self._target, "workspace")

    def get(self, key: str, default: Any = None) -> Any:
        """Gives the value of a key, or ``default``."""
        found = self.entry(key)
        return default if found is None else found.value

    def entry(self, key: str) -> Entry | None:
        """Gives a key with its revision; ``None`` if it is not there."""
        return _entry(key, self._call("kv.get", self._args(key=key)))

    def require(self, key: str) -> Any:
        """Gives the value of a key that must be there.

        Raises:
            NotFound: It is not there.
        """
        return self._call("kv.require", self._args(key=key))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Gives the values of several keys, each read by itself; those that are not there are left out."""
        found = self._call("kv.get_many", self._args(keys=list(keys)))
        return {each["key"]: each["value"] for each in found}

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: Duration | None = None,
        if_revision: int | None = None,
    ) -> int:
        """Sets a key; gives its revision. See :meth:`Kv.put`."""
        options = given(ttl=duration(ttl), if_revision=if_revision)
        found: int = self._call("kv.put", self._args(key=key, value=value, **options))
        return found

    def put_bytes(
        self,
        key: str,
        value: bytes,
        *,
        ttl: Duration | None = None,
        if_revision: int | None = None,
    ) -> int:
        """Sets a key to bytes, kept as a text in base64; gives its revision. See :meth:`put`."""
        text = base64.b64encode(value).decode()
        return self.put(key, text, ttl=ttl, if_revision=if_revision)

    def get_bytes(self, key: str) -> bytes | None:
        """Gives the bytes of a key, or ``None``.

        Raises:
            InvalidPayload: Its value is no bytes.
        """
        found = self._call("kv.get_bytes", self._args(key=key))
        return None if found is None else base64.b64decode(found)

    def delete(self, key: str, *, if_revision: int | None = None) -> None:
        """Deletes a key."""
        self._call("kv.delete", self._args(key=key, **given(if_revision=if_revision)))

    def list(self, prefix: str = "") -> list[Entry]:
        """Gives all keys that begin with a prefix, with their values."""
        found = self._call("kv.list", self._args(prefix=prefix))
        return [Entry(each["key"], each["value"], each["revision"]) for each in found]

    def update(self, key: str, change: Callable[[Any], Any], *, ttl: Duration | None = None) -> Any:
        """Changes a key by comparing and setting; see :meth:`Kv.update`."""
        number = self._runtime.function(change)
        try:
            args = self._args(key=key, function=number, **given(ttl=duration(ttl)))
            return self._call("kv.update", args)
        finally:
            self._runtime.drop(number)

    def _call(self, name: str, args: dict[str, Any]) -> Any:
        return self._runtime.call_blocking(self._target, name, args)
