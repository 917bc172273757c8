"""Speed and memory of reading a table: hubmodels beside pandas and `datasets` alone.

    python scripts/benchmarks/reading/reading.py 1000000 > scripts/benchmarks/reading/DATE-1000000.md

Each way is a process of its own with an empty cache; "again" is a second start, with the cache of the first. Memory is
the process's highest resident set, less what it has when everything is imported; pages of files that are mapped into
memory and can be given back count in it too.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS_AT_ONCE = 500_000
IMPORTS = "import resource, sys, time; import datasets, pandas, pyarrow; import hubmodels.data\n"
WAYS = {
    "pandas": "pandas.read_{kind}(path)",
    "datasets": "datasets.load_dataset('{kind}', data_files=path)",
    "hubmodels, train": "read_source(open_source(path))",
    "hubmodels, train again": "read_source(open_source(path))",
    "hubmodels, stream": "sum(1 for _ in stream_source(open_source(path))[0]['train'].iter(10_000))",
    "hubmodels, predict (pieces)": "sum(len(piece.table) for piece in reading.pieces(path, 65_536))",
}
CODE = """
from hubmodels.data import Reading
from hubmodels.data.kinds import ColumnKind, Kinds
from hubmodels.data.readers import open_source
from hubmodels.data.source_rows import read_source
from hubmodels.data.source_streams import stream_source
reading = Reading(kinds=Kinds({{name: ColumnKind("number") for name in ("a", "b", "c")}}))
path = sys.argv[1]
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
{call}
seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, (peak - before) / 1024)
"""


def write_table(folder: Path, num_rows: int) -> dict[str, Path]:
    """Write a table of three numbers, a whole number, a category and a class as CSV and Parquet."""
    import numpy as np
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    generator = np.random.default_rng(0)
    paths = {"csv": folder / "rows.csv", "parquet": folder / "rows.parquet"}
    csv = parquet = None
    for start in range(0, num_rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, num_rows - start)
        columns: dict[str, object] = {name: generator.normal(size=count).round(4) for name in "abc"}
        columns["age"] = generator.integers(18, 90, count)
        columns["city"] = np.array(["Rome", "Oslo", "Lima", "Zürich"])[generator.integers(0, 4, count)]
        columns["label"] = np.array(["yes", "no"])[generator.integers(0, 2, count)]
        table = pyarrow.table(columns)
        csv = csv or pyarrow.csv.CSVWriter(
            paths["csv"], table.schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed")
        )
        parquet = parquet or pyarrow.parquet.ParquetWriter(paths["parquet"], table.schema)
        csv.write_table(table)
        parquet.write_table(table)
    csv.close()
    parquet.close()
    return paths


def main() -> None:
    """Measure every way over both kinds of file, and print a table."""
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        paths = write_table(Path(name), num_rows)
        print("| file | way | seconds | rows a second | memory, MB |\n|---|---|---|---|---|")
        for kind, path in paths.items():
            size = path.stat().st_size / 2**20
            for way, call in WAYS.items():
                cache = Path(name, "cache", kind, "hubmodels" if way.startswith("hubmodels, train") else way)
                environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
                code = IMPORTS + CODE.format(call=call.format(kind=kind))
                words = [sys.executable, "-c", code, str(path)]
                done = subprocess.run(words, capture_output=True, text=True, env=environment)
                if done.returncode:
                    sys.exit(done.stderr)
                seconds, megabytes = map(float, done.stdout.split()[-2:])
                speed = f"{num_rows / seconds:,.0f}"
                print(f"| {kind}, {size:,.0f} MB | {way} | {seconds:.1f} | {speed} | {megabytes:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
