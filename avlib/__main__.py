"""`python -m avlib [animate|preference|pool|score] ...`: what run_all.sh runs.

Errors in the input are reported in one line. Relative paths are the caller's, whom run_all.sh names in AVLIB_CALLER.
"""

import errno
import os
import sys


def main(argv: list[str]) -> int:
    if argv[:1] == ["animate"]:
        from .cli.animate import main as animate

        return animate(argv[1:])
    if argv[:1] == ["preference"]:
        from .cli.preference import main as preference

        return preference(argv[1:])
    if argv[:1] == ["pool"]:
        from .cli.pool import main as pool

        return pool(argv[1:])
    if argv[:1] == ["score"]:
        from .cli.score import main as score

        return score(argv[1:])
    from .cli.arguments import parse_arguments
    from .core.presets import load

    arguments = parse_arguments(argv)
    # what is wrong with the options is said before the three seconds in which torch is imported
    load(arguments.preset, device=arguments.device, **arguments.overrides)
    from .cli.notebooks import main as notebooks

    return notebooks(arguments)


if __name__ == "__main__":
    try:
        os.chdir(os.environ.get("AVLIB_CALLER", "."))
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"avlib: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        sys.exit(f"avlib: {error.filename or 'a file'}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("avlib: interrupted; run the same command again to resume")
