"""`python -m avlib`: the notebooks, `animate` or `preference`, with errors of the user's making as one line."""
import sys


def main(argv: list[str]) -> int:
    if argv[:1] == ["animate"]:
        from .export import main as animate
        return animate(argv[1:])
    if argv[:1] == ["preference"]:
        from .preference import main as preference
        return preference(argv[1:])
    from .notebooks import main as notebooks
    return notebooks(argv)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"avlib: {error}")
    except KeyboardInterrupt:
        sys.exit("avlib: interrupted; the same command goes on where it stopped")
