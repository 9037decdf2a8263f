"""Requests: their counters, the queues before the engine, the decode calendar, and a batch in numbers."""
