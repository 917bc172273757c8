"""Tables that were read, kept as Arrow files in the cache of `datasets`, under a name that their content decides."""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.ipc
from datasets.fingerprint import Hasher
from filelock import FileLock

from ..files import read_json, write_json
from .schemas import cast_table, common_schema

DESCRIPTION = "reading.json"
CODE = ("data", "processors", "tasks", "__init__.py")  # of the package: what decides the values of rows


@functools.cache
def code_version() -> str:
    """Hash the code that reads and encodes: what other code wrote into the cache is not taken for its own."""
    package = Path(__file__).parent.parent
    hasher = hashlib.sha256()
    for name in CODE:
        whole = package / name
        for file in sorted(whole.rglob("*.py")) if whole.is_dir() else [whole]:
            hasher.update(file.relative_to(package).as_posix().encode())
            hasher.update(file.read_bytes())
    return hasher.hexdigest()


def cache_key(*values: object) -> str:
    """Hash plain values, together with the code."""
    return Hasher.hash([code_version(), *values])


def cached_folder(key: str, write: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Give a folder of the cache, written once.

    Processes that come at once wait for the first; a folder appears whole or not at all.

    Args:
        key: its name (see `cache_key`).
        write: fills a folder, and describes in plain values what it wrote.

    Returns:
        The folder, and its description.
    """
    root = Path(datasets.config.HF_DATASETS_CACHE, "hubmodels")
    folder = root / key
    root.mkdir(parents=True, exist_ok=True)
    if not (folder / DESCRIPTION).is_file():
        with FileLock(root / f"{key}.lock"):
            if not (folder / DESCRIPTION).is_file():
                sweep(root, key)
                temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=root))
                try:
                    write_json(temporary / DESCRIPTION, write(temporary))
                    temporary.chmod(0o755)
                    shutil.rmtree(folder, ignore_errors=True)  # one without a description is not whole
                    os.rename(temporary, folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
    return folder, read_json(folder / DESCRIPTION)


def sweep(root: Path, key: str) -> None:
    """Remove what a killed process left of a folder; nobody else writes it, as the lock is held."""
    for remains in root.glob(f".{key}.*"):
        shutil.rmtree(remains, ignore_errors=True)


def open_rows(path: Path, fingerprint: str) -> datasets.Dataset:
    """Open rows of the cache, mapped and not read."""
    rows = datasets.Dataset.from_file(os.fspath(path))
    rows._fingerprint = fingerprint
    return rows


class TableSpool:
    """Writes tables to the disk as they come, whose types may change on the way, and joins them to one.

    Args:
        folder: for its files.
        name: of its files.
        features: describe columns that Arrow's types do not tell.
    """

    def __init__(self, folder: Path, name: str, features: dict[str, Any] | None = None) -> None:
        self.folder, self.name, self.features = folder, name, features or {}
        self.paths: list[Path] = []
        self.schemas: list[pyarrow.Schema] = []
        self.writer: Any = None

    def write(self, table: pyarrow.Table) -> None:
        """Append a table; a file goes on as long as the schema stays."""
        if not self.schemas or not self.schemas[-1].equals(table.schema):
            if self.writer is None or len(table):  # tables without rows tell the first schema alone
                self.begin(table.schema)
            else:
                return
        self.writer.write_table(table)

    def begin(self, schema: pyarrow.Schema) -> None:
        """Begin a file."""
        self.close()
        self.paths.append(self.folder / f"{self.name}-{len(self.paths)}.arrow")
        self.schemas.append(schema)
        self.writer = pyarrow.ipc.new_stream(os.fspath(self.paths[-1]), described_schema(schema, self.features))

    def close(self) -> None:
        """End the file that is being written."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def tables(self) -> Iterator[pyarrow.Table]:
        """Give all tables in order, mapped, in one schema."""
        self.close()
        schema = common_schema(self.schemas)
        for path in self.paths:
            table = mapped_table(path)
            yield from (cast_table(pyarrow.Table.from_batches([batch]), schema) for batch in table.to_batches())

    def whole(self) -> pyarrow.Table:
        """Give all rows as one table, mapped where all files have one schema."""
        self.close()
        schema = common_schema(self.schemas)
        tables = [cast_table(mapped_table(path), schema) for path in self.paths]
        return pyarrow.concat_tables(tables) if tables else schema.empty_table()

    def join(self, path: Path) -> None:
        """Make one file of all, which is the only one left."""
        self.close()
        if len(self.paths) == 1:
            os.rename(self.paths[0], path)
            return
        schema = described_schema(common_schema(self.schemas), self.features)
        with pyarrow.ipc.new_stream(os.fspath(path), schema) as writer:
            for table in self.tables():
                writer.write_table(table.cast(schema))
        self.remove()

    def remove(self) -> None:
        """Remove its files."""
        self.close()
        for path in self.paths:
            path.unlink(missing_ok=True)


def described_schema(schema: pyarrow.Schema, features: dict[str, Any]) -> pyarrow.Schema:
    """Join features of `datasets` to a schema; without any it is given as it is."""
    known = {name: item for name, item in features.items() if name in schema.names}
    if not known:
        return schema
    described = datasets.Features.from_arrow_schema(schema.remove_metadata()) | known
    return datasets.Features({name: described[name] for name in schema.names}).arrow_schema


def mapped_table(path: Path) -> pyarrow.Table:
    """Map a stream of Arrow into memory."""
    with pyarrow.memory_map(os.fspath(path)) as source:
        return pyarrow.ipc.open_stream(source).read_all()


def write_tables(tables: Iterable[pyarrow.Table], spool: TableSpool) -> None:
    """Write tables to a spool, and end its last file."""
    for table in tables:
        spool.write(table)
    spool.close()
