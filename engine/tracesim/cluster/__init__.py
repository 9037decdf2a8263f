"""Replicas of an engine under one clock, and the routers that choose among them."""
