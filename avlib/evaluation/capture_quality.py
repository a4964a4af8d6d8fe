"""How good the motion is that a corpus captures from film: a table, and stage "capture", which two runs can compare."""

from ..core.run import Run
from ..corpus.clips import grouped_by_reason
from ..corpus.corpus import Corpus
from .table_formats import Table

NOT_CAPTURED = "This corpus is not captured from film."


def describe_capture(run: Run, corpus: Corpus) -> str:
    """Stage "capture": the quality of a captured corpus. Writes table "capture" of the run, and returns its Markdown.

    A line of text for another corpus, without a stage.
    """
    if not corpus.capture:
        return NOT_CAPTURED
    quality, excluded = corpus.capture["quality"], corpus.capture["excluded"]
    key = run.key(describe_capture, corpus.hash, quality, excluded)
    record = run.finished("capture", key)
    if not record:
        groups = grouped_by_reason([{"name": name, "reason": reason} for name, reason in excluded.items()])
        record = run.finish(
            "capture",
            key,
            corpus=corpus.hash,
            face=corpus.capture["face"],
            fps=corpus.fps,
            films=quality["films"],
            excluded={reason: len(names) for reason, names in groups.items()},
            metrics=capture_metrics(quality),
        )
    return quality_table(record, corpus.title).write(run.folder / "tables", "capture", corpus=corpus.hash)


def capture_metrics(quality: dict) -> dict[str, dict]:
    """Name -> value and unit, of what could be measured. quality: of `Corpus.capture`."""
    metrics: dict[str, dict] = {}
    for name in ("closures", "word_initial_closures"):
        closures = quality[name]
        metrics[name] = {"value": closures["sounds"], "unit": "sounds"}
        if closures["sounds"]:
            metrics[f"{name}_median"] = {"value": closures["median_mm"], "unit": "mm"}
            metrics[f"{name}_quantile_90"] = {"value": closures["quantile_90_mm"], "unit": "mm"}
            metrics[f"{name}_within_1_mm"] = {"value": 100 * closures["closed_share"], "unit": "%"}
    measured = {
        "jitter": (quality["jitter_mm"], "mm per frame"),
        "reprojection": (quality["reprojection_px"], "pixels"),
        "lip_reprojection": (quality["lip_reprojection_px"], "pixels"),
        "resolution": (quality["pixels_per_mm"], "pixels per mm"),
    }
    return metrics | {name: {"value": v, "unit": unit} for name, (v, unit) in measured.items() if v is not None}


def quality_table(record: dict, title: str) -> Table:
    """The table of a record of stage "capture". title: of the corpus."""
    metrics = record["metrics"]

    def cell(*names: str, form: str = ".2f") -> str:
        return ", ".join(f"{metrics[n]['value']:{form}} {metrics[n]['unit']}" for n in names if n in metrics) or "–"

    def distance(name: str) -> str:
        if name not in metrics:
            return cell(name)
        return f"{cell(name)} ({metrics[name]['value'] / metrics['resolution']['value']:.1f} mm)"

    reasons = "; ".join(f"{reason}: {count}" for reason, count in record["excluded"].items())
    rows = [
        ["films", str(record["films"]), "Films whose motion is captured."],
        ["excluded films", str(sum(record["excluded"].values())), f"{reasons or 'None'}."],
        *_closure_rows(metrics, cell),
        [
            "jitter of the lips in silence",
            cell("jitter"),
            "Mean movement of a lip vertex from one frame to the next. Lips at rest are nearly still: the smaller, the "
            "less noise. Breathing in moves them, too.",
        ],
        [
            "reprojection error, all points",
            distance("reprojection"),
            "How far the points of the mesh lie from the landmarks in the picture, root mean square. The smaller, the "
            "more closely the mesh follows the film"
            + (
                "; 0 by construction, because the landmarks are its vertices." if record["face"] == "landmarks" else "."
            ),
        ],
        [
            "reprojection error, lips",
            distance("lip_reprojection"),
            "The same for the lips alone, which matter most here.",
        ],
        [
            "size of the face in the picture",
            cell("resolution"),
            "The larger, the finer the movements that the film can show.",
        ],
    ]
    source = {"frames per second": f"{record['fps']:g}"}
    return Table(
        f"Quality of the capture, {title}", ["measure", "value", "how to read it"], rows, source, [], [metrics]
    )


def _closure_rows(metrics: dict, cell) -> list[list[str]]:
    count, initial = (metrics[name]["value"] for name in ("closures", "word_initial_closures"))
    return [
        [
            f"smallest distance of the lips in {count} p, b and m: median, 90 % quantile",
            cell("closures_median", "closures_quantile_90"),
            "The lips touch in these sounds, so both should be near 0. One sound in ten is wider open than the second.",
        ],
        [
            f"p, b and m at the beginning of a word ({initial}), lips within 1 mm",
            cell("word_initial_closures_within_1_mm", form=".1f"),
            "These sounds close the lips most firmly, so it should be near 100 %. Less means landmarks that miss lips "
            "which meet, or sound that is out of step with the film.",
        ],
    ]
