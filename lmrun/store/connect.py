"""Open a SQLite file so that one writer and many readers can share it, and bring its schema up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lmrun.errors import StoreError

# SQLite's write-ahead log needs shared memory between all processes that use the file, which these do not give; several
# hosts writing one file over them corrupt it.
NETWORK_FILE_SYSTEMS = frozenset(
    "9p acfs afpfs afs beegfs ceph cifs cvmfs fuse.blobfuse2 fuse.gcsfuse fuse.glusterfs fuse.s3fs fuse.sshfs gfs2 "
    "glusterfs gpfs lustre ncpfs nfs nfs3 nfs4 ocfs2 panfs pvfs2 smb3 smbfs webdav wekafs".split()
)
BUSY_TIMEOUT_MS = 30_000


def file_system(path: Path) -> str:
    """Type of the file system that holds ``path`` (``"ext4"``, ``"nfs4"`` …), or ``""`` where it cannot be told."""
    import psutil

    try:
        mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    except (OSError, RuntimeError):
        return ""
    resolved = path.resolve()
    return next((mounts[folder] for folder in (resolved, *resolved.parents) if folder in mounts), "")


def is_network(path: Path) -> bool:
    """Whether ``path`` is on a network file system."""
    return file_system(path).lower() in NETWORK_FILE_SYSTEMS


def connect(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    """Open ``path`` for writing, creating it and its folder, with the schema of ``migrations`` applied.

    On a local disk: write-ahead log, and no wait for the disk at a commit. A commit then survives the death of the
    process at any point (a power cut can cost the last commits, never the file). On a network file system: a rollback
    journal with full syncs.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        if is_network(path.parent):
            connection.executescript("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;")
        else:
            connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        _migrate(connection, migrations)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"{path}: cannot be used as a database: {error}",
            hint="check that the folder is writable and the file is a database of lmrun's; or name another one",
        ) from error
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Done, or not done at all, also where Ctrl-C comes at any point of it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect_readonly(
    path: Path, migrations: Sequence[str], oldest: int | None = None, *, patience_ms: int = BUSY_TIMEOUT_MS
) -> sqlite3.Connection:
    """Open an existing database for reading only; it may be written to by another process meanwhile.

    ``oldest`` is the first version of the schema that the caller can read; without it, only the newest.
    ``patience_ms`` is how long a question waits while somebody holds the file who must not be read beside.

    Raises:
        StoreError: if it cannot be read, or was written by another version of lmrun.
    """
    try:
        connection = sqlite3.connect(_readonly_uri(path), uri=True, timeout=patience_ms / 1000)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    _check_version(path, version, migrations, oldest)
    connection.row_factory = sqlite3.Row
    return connection


def attach_readonly(
    connection: sqlite3.Connection, path: Path, name: str, migrations: Sequence[str], oldest: int | None = None
) -> None:
    """Let a connection of :func:`connect_readonly` read another database too, as schema ``name``.

    Raises:
        StoreError: if it cannot be read, or was written by another version of lmrun.
    """
    try:
        connection.execute(f"ATTACH ? AS {name}", (_readonly_uri(path),))
        version = int(connection.execute(f"PRAGMA {name}.user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    _check_version(path, version, migrations, oldest)


def _readonly_uri(path: Path) -> str:
    # In a folder that cannot be written nobody else writes either, and the log's shared memory cannot be made.
    mode = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
    return f"{path.resolve().as_uri()}?{mode}"


def _unreadable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(f"{path}: cannot be read: {error}", hint="is the whole folder of the run there?")


def _check_version(path: Path, version: int, migrations: Sequence[str], oldest: int | None) -> None:
    first = len(migrations) if oldest is None else oldest
    if not first <= version <= len(migrations):
        known = f"version {first}" + (f" to {len(migrations)}" if first < len(migrations) else "")
        raise StoreError(
            f"{path}: has schema version {version}, this lmrun reads {known}",
            hint="use the version of lmrun that wrote it; `lmrun batch` on its manifest brings a run up to date",
        )


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Apply what is missing; ``PRAGMA user_version`` counts what has been applied."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise sqlite3.DatabaseError(f"written by a newer lmrun (schema {version}, this one knows {len(migrations)})")
    for number, script in enumerate(migrations[version:], start=version + 1):
        # Re-check inside the transaction: two processes may open a new cache at the same moment.
        connection.execute("BEGIN IMMEDIATE")
        if int(connection.execute("PRAGMA user_version").fetchone()[0]) < number:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number}")
        connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: ``executescript`` would end the transaction that they must share."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
