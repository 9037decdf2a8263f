"""The commands: one module for each; what only `tracesim replay` needs is called `replay_*`."""
