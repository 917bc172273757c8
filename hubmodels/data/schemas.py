"""One schema for tables whose types differ, as those of pieces of a file may."""

import pyarrow
import pyarrow.compute


def common_schema(schemas: list[pyarrow.Schema]) -> pyarrow.Schema:
    """Find one schema for pieces whose types differ, since text files tell none: numbers become wider, else text.

    A column that some pieces lack is a gap there."""
    if schemas and all(schema.equals(schemas[0]) for schema in schemas[1:]):
        return schemas[0]
    fields = []
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        of_pieces = [
            pyarrow.schema([schema.field(name).remove_metadata()]) for schema in schemas if name in schema.names
        ]
        try:
            fields.append(pyarrow.unify_schemas(of_pieces, promote_options="permissive").field(0))
        except pyarrow.ArrowException:
            fields.append(pyarrow.field(name, pyarrow.string()))
    return pyarrow.schema(fields, metadata=schemas[0].metadata if schemas else None)


def cast_table(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """Cast a table to a schema that has all its columns; those that it lacks are gaps."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pyarrow.nulls(len(table), field.type))
        elif table.column(field.name).type.equals(field.type):
            columns.append(table.column(field.name))
        else:
            columns.append(cast_column(table.column(field.name), field.type))
    return pyarrow.table(columns, schema=schema)


def cast_column(column: pyarrow.ChunkedArray, kind: pyarrow.DataType) -> pyarrow.ChunkedArray:
    """Cast a column; to text also what Arrow does not turn into text, such as lists."""
    try:
        return column.cast(kind)
    except pyarrow.ArrowException:
        if not pyarrow.types.is_string(kind):
            raise
        return pyarrow.chunked_array([[None if value is None else str(value) for value in column.to_pylist()]], kind)
