"""`python -m tracesim` is the command `tracesim`. Only here does the library import the command line."""

from tracesim_cli.__main__ import main

if __name__ == "__main__":
    main()
