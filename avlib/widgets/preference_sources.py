"""Whose motion a preference study shows: a trained model, a run's scans, or predictions in a folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..core.files import find_visible
from ..core.opening import open_run
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..evaluation.external_predictions import OtherMethod, find_predictions, read_prediction
from ..evaluation.labels import TRUTH
from ..evaluation.results import method_label
from ..export.speaker import trained_models
from ..training.joint import predict
from ..training.trained_models import load_animator


@dataclass(frozen=True)
class MotionSource:
    """A trained model of a run, the run's scans (model "truth"), or predictions of another method in a folder."""

    model: str
    run: Run | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "MotionSource":
        """From RUN/MODEL, or from NAME=FOLDER with files `<sequence>_condition_<subject>.npy`.

        ValueError for any other text, an unknown run, model or folder.
        """
        if "=" in text:
            method = OtherMethod.parse(text)
            if not method.is_folder:
                raise ValueError(f"expected RUN/MODEL, or NAME=FOLDER of predictions, got {text!r}")
            return cls(method.name, folder=method.paths[0])
        name, _, model = text.partition("/")
        if not name or not model:
            raise ValueError(f"expected RUN/MODEL, or NAME=FOLDER of predictions, got {text!r}")
        run = open_run(name)
        if model not in (models := [*trained_models(run), TRUTH]):
            raise ValueError(f"model: expected one of {', '.join(models)} in {run.folder}, got {model!r}")
        return cls(model, run)

    @property
    def title(self) -> str:
        return f"{self.run.name}/{self.model}" if self.run else self.model

    @property
    def method(self) -> str:
        """The name that the paper's tables use."""
        if not self.run or self.model == TRUTH:
            return self.model
        record = self.run.record(self.model)
        return method_label(record["animator"], record["objective"])

    def fingerprint(self) -> list:
        """Title, files and weights: a page is written again when one of them changes."""
        paths = find_visible(self.folder, "*.npy") if self.folder else []
        files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        weights = self.run.finished_key(self.model) if self.run and self.model != TRUTH else ""
        return [self.title, files, weights]

    def motions(self, corpus: Corpus, utterances: list[Utterance]) -> list[torch.Tensor]:
        """Vertices (T, V, 3) of each utterance, in the corpus's unit.

        A model predicts in the first training style. A folder gives the first style that it holds for the utterance.
        """
        if self.folder:
            paths = first_style_files(self.folder, utterances)
            return [read_prediction(paths[u.name], corpus, u) for u in utterances]
        if self.model == TRUTH:
            return [corpus.motion(u) for u in utterances]
        assert self.run is not None  # `parse` gives a run to every source without a folder
        animator, _ = load_animator(self.run, corpus, self.model)
        return [predict(self.run, corpus, animator, u) for u in utterances]


def first_style_files(folder: Path, utterances: list[Utterance]) -> dict[str, Path]:
    """Utterance name -> its prediction in the first style, by name, that has one."""
    styles = find_predictions(folder, utterances)
    return {name: path for files in reversed(styles.values()) for name, path in files.items()}
