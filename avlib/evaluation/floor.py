"""The excess of the LVE over the floor: the part that learning can lower."""

from statistics import mean

from .labels import FLOOR, REFERENCE_LABELS

ABOVE_FLOOR = "LVE above floor"
FLOOR_NOTE = (
    f"{ABOVE_FLOOR}: what learning can lower. The floor is the best guess from speech alone in the squared error of "
    "each vertex: the mean over all deliveries and training styles"
)


def add_excess(rows: list[dict]) -> None:
    """Adds the metric `ABOVE_FLOOR`, for each seed, to the rows of a table of methods, among which is the floor.

    rows: "method", and "metrics" with "unit" and "values" of each.
    """
    lves = {row["method"]: row["metrics"]["LVE"] for row in rows}
    floor = mean(lves[REFERENCE_LABELS[FLOOR]]["values"])
    for row in rows:
        lve = lves[row["method"]]
        excess = [value - floor for value in lve["values"]]
        row["metrics"][ABOVE_FLOOR] = {"unit": lve["unit"], "about": FLOOR_NOTE, "values": excess}
