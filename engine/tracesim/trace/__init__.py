"""Trace files: the record, its schema, the reader and writer, and the formats that are read."""
