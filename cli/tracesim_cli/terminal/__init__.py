"""The terminal and the process around a command: streams, exit codes, output files, safe text."""
