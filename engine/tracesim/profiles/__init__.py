"""Profiles: TOML files of replay settings, and those that are built in."""
