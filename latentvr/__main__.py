"""`python -m latentvr` is the command `latentvr`."""

from latentvr.cli.main import main

if __name__ == "__main__":
    main()
