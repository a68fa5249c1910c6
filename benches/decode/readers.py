"""Reads a file of JSON lines with DuckDB or Polars on one thread, several times, and prints the seconds of the fastest.

readers.py duckdb|polars PASSES ROWS FILE FIELDS
"""

import json
import sys
import time


def duckdb_type(kind):
    if isinstance(kind, dict):
        members = ", ".join(f'"{name}" {duckdb_type(member)}' for name, member in kind.items())
        return f"STRUCT({members})"
    if isinstance(kind, list):
        return duckdb_type(kind[0]) + "[]"
    return {"bool": "BOOLEAN", "int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR"}[kind]


def duckdb_pass(file, fields):
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    columns = {name: duckdb_type(kind) for name, kind in fields.items()}
    wanted = ", ".join(f'count("{name}")' for name in fields)
    query = f"SELECT count(*), {wanted} FROM read_json(?, format = 'newline_delimited', columns = {columns!r})"

    def run():
        return connection.execute(query, [file]).fetchone()[0]

    return run


def polars_pass(file, fields):
    import polars

    names = {"bool": polars.Boolean, "int": polars.Int64, "float": polars.Float64, "text": polars.String}

    def kind_of(kind):
        if isinstance(kind, dict):
            return polars.Struct({name: kind_of(member) for name, member in kind.items()})
        if isinstance(kind, list):
            return polars.List(kind_of(kind[0]))
        return names[kind]

    schema = {name: kind_of(kind) for name, kind in fields.items()}

    def run():
        return polars.read_ndjson(file, schema=schema).height

    return run


def main():
    reader, passes, rows, file, fields = sys.argv[1:]
    with open(fields) as text:
        fields = json.load(text)
    run = {"duckdb": duckdb_pass, "polars": polars_pass}[reader](file, fields)
    best = float("inf")
    for _ in range(int(passes)):
        began = time.perf_counter()
        read = run()
        best = min(best, time.perf_counter() - began)
        if read != int(rows):
            sys.exit(f"it read {read} of {rows} rows")
    print(best)


main()
