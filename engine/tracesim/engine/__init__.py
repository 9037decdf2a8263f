"""The engine: its loop, the progress of its requests, and the record of each step."""
