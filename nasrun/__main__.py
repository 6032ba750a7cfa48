"""Run `python -m nasrun`, which is the same program as `nasrun`."""

from nasrun.cli.main import main

if __name__ == "__main__":
    main()
