"""The engine: its loop, the progress of its requests, its outputs, and the records of its steps."""
