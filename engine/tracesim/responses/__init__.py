"""Responses: sampling parameters, recordings and where they stop, and the simulator that emits them."""
