"""A request and its state, one batch in numbers, the queues before the engine, and the decode calendar."""
