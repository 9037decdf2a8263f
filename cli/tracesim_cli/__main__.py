"""`python -m tracesim_cli` is `tracesim`."""

from tracesim_cli.main import main

main()
