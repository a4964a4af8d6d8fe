"""A face in a notebook that a microphone or a recording animates live."""

from statistics import median

import anywidget
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from traitlets import Bytes, Dict, Float

from ..core.progress import HEADLESS
from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus.run_corpus import open_corpus
from ..corpus.utterance import Utterance
from ..export.live import Stream
from ..export.speaker import Speaker, load_sound
from ..plots.motion import aperture_tracks
from ..speech.sound import wav_bytes
from .browser_data import as_bytes, mesh_bytes, module


class LiveFace(anywidget.AnyWidget):
    """The browser records or plays the sound, sends it in pieces, and shows each frame at its time.

    recording: a WAV file to try it with; hop: seconds of sound in a piece; delay: seconds of lookahead and hop.
    """

    _esm = module("mesh.js", "live_widget.js")
    mesh = Dict().tag(sync=True)
    recording = Bytes().tag(sync=True)
    fps = Float().tag(sync=True)
    hop, delay = Float().tag(sync=True), Float().tag(sync=True)

    def __init__(self, speaker: Speaker, speech: Tensor):
        """speech: (S,) at 16 kHz, the recording to try it with."""
        self.speaker, self.stream, corpus = speaker, Stream(speaker), speaker.corpus
        super().__init__(
            mesh=mesh_bytes(speaker.template, corpus.faces, corpus.albedo),
            recording=wav_bytes(speech),
            fps=float(corpus.fps),
            hop=self.stream.hop / SPEECH_HZ,
            delay=self.stream.delay_s,
        )
        self.on_msg(self.receive)

    def receive(self, _, message: dict, buffers: list):
        """Handles a message of the browser: a session begins, continues with float32 samples, or ends.

        Samples and the end are answered with the frames that became ready, possibly none, or with an error.
        """
        try:
            if message["kind"] == "begin":
                self.stream = Stream(self.speaker, message["rate"])
                return
            if buffers:
                vertices = self.stream.feed(torch.frombuffer(bytearray(buffers[0]), dtype=torch.float32))
            else:
                vertices = self.stream.end()
        except ValueError as error:
            self.send({"kind": "error", "session": message["session"], "text": f"avlib: {error}"})
            return
        answer = {
            "kind": "frames",
            "session": message["session"],
            "first": self.stream.frames - len(vertices),
            "count": len(vertices),
            "computed": median(self.stream.hop_seconds or [0.0]),
        }
        self.send(answer, [as_bytes(vertices, "<f4")])


def live_face(run: Run, model: str) -> LiveFace | Figure:
    """The live face of a trained model; in an executed notebook a figure of the first test sentence, streamed."""
    utterance = open_corpus(run).utterances("test")[0]
    speaker = Speaker(run, model, utterance.subject)
    return streamed_figure(speaker, utterance) if HEADLESS else LiveFace(speaker, speaker.corpus.speech(utterance))


def streamed_figure(speaker: Speaker, utterance: Utterance) -> Figure:
    """Lip aperture of a sentence that is processed as a whole, and of the same sentence streamed."""
    stream, speech = Stream(speaker), speaker.corpus.speech(utterance)
    streamed = torch.cat([*map(stream.feed, speech.split(stream.hop)), stream.end()])
    whole = torch.cat(list(speaker(load_sound(speech))))
    busy = 100 * sum(stream.hop_seconds) / (len(speech) / SPEECH_HZ)
    name = f"streamed: latency\n{stream.latency_s:.2f} s, computing\n{busy:.0f} % of the time"
    figure = aperture_tracks(speaker.corpus, utterance, {"whole sentence": whole, name: streamed}, speech)
    plt.close(figure)  # otherwise the notebook shows it twice
    return figure
