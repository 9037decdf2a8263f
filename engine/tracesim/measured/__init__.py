"""Measurements of real servers: what each step or each request took, read from the files of several tools."""
