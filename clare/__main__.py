"""`python -m clare` and the `clare` command."""

from clare.cli.app import main

if __name__ == "__main__":
    main()
