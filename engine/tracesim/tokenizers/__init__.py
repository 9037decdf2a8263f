"""Tokenizers: one protocol, a file for each kind, and the embedded vocabulary."""
