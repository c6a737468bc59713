"""The command line from a checkout: ``python typer_cli.py koma --radius 12``."""

from mrcz_dask.cli.app import main

if __name__ == "__main__":
    main()
