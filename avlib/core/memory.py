"""Peak memory of processes, as the operating system reports it."""

import math
import sys


def peak_memory_bytes(children: bool = False) -> float:
    """The largest resident memory so far of this process, or of the largest of its finished child processes.

    Not a number (NaN) on Windows, where Python has no such report.
    """
    try:
        import resource
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS reports bytes, Linux KiB
