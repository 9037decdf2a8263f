"""The `tracesim` command: parse, call the engine, render."""
