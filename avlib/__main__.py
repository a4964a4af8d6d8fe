"""`python -m avlib`: the notebooks, with errors of the user's making as one line."""
import sys

from .notebooks import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"avlib: {error}")
    except KeyboardInterrupt:
        sys.exit("avlib: interrupted; the same command goes on where it stopped")
