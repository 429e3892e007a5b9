"""Run the command line as `python -m collapse_lm`."""

from collapse_lm.cli.main import main

if __name__ == "__main__":
    main()
