"""A face that a microphone or a recording moves live, in a notebook."""

import io
from statistics import median

import anywidget
import matplotlib.pyplot as plt
import soundfile
import torch
from matplotlib.figure import Figure
from torch import Tensor
from traitlets import Bytes, Dict, Float

from ..core.progress import HEADLESS
from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus.utterance import Utterance
from ..export.live import Stream
from ..export.speaker import Speaker, corpus_of, load_sound
from ..plots.motion import aperture_tracks
from .mesh_widget import as_bytes, mesh_bytes, module


class Live(anywidget.AnyWidget):
    """A face that says what a microphone hears, or a recording. The browser takes the sound and shows each frame when it is due."""

    _esm = module("mesh.js", "live_widget.js")
    mesh = Dict().tag(sync=True)
    recording = Bytes().tag(sync=True)  # a sound file's
    fps = Float().tag(sync=True)
    hop, delay = Float().tag(sync=True), Float().tag(sync=True)  # seconds: of a hop; of lookahead and a hop

    def __init__(self, speaker: Speaker, speech: Tensor):
        """speech: (S,) at 16 kHz, the recording that is there to be tried."""
        sound, corpus = io.BytesIO(), speaker.corpus
        soundfile.write(sound, speech.clamp(-1, 1).numpy(), SPEECH_HZ, "PCM_16", format="WAV")
        self.speaker, self.stream = speaker, Stream(speaker)
        super().__init__(
            mesh=mesh_bytes(speaker.template, corpus.faces, corpus.albedo),
            recording=sound.getvalue(),
            fps=float(corpus.fps),
            hop=self.stream.hop / SPEECH_HZ,
            delay=self.stream.delay_s,
        )
        self.on_msg(self.told)

    def told(self, _, message: dict, buffers: list):
        """What the browser sends: a session begins, goes on with 32-bit samples, ends. It gets frames, if only
        none, or a fault."""
        try:
            if message["kind"] == "begin":
                self.stream = Stream(self.speaker, message["rate"])
                return
            made = (
                self.stream.feed(torch.frombuffer(bytearray(buffers[0]), dtype=torch.float32))
                if buffers
                else self.stream.end()
            )
        except ValueError as error:
            self.send({"kind": "fault", "session": message["session"], "text": f"avlib: {error}"})
            return
        self.send(
            {
                "kind": "frames",
                "session": message["session"],
                "first": self.stream.frames - len(made),
                "count": len(made),
                "computed": median(self.stream.spent or [0.0]),
            },
            [as_bytes(made, "<f4")],
        )


def live_face(run: Run, model: str) -> Live | Figure:
    """The live face of a trained model; where nobody watches, a picture of the first test sentence streamed."""
    utterance = corpus_of(run).utterances("test")[0]
    speaker = Speaker(run, model, utterance.subject)
    return picture(speaker, utterance) if HEADLESS else Live(speaker, speaker.corpus.speech(utterance))


def picture(speaker: Speaker, utterance: Utterance) -> Figure:
    """Lip aperture of a sentence heard whole and as it comes, as fast as that goes."""
    stream, speech = Stream(speaker), speaker.corpus.speech(utterance)
    streamed = torch.cat([*map(stream.feed, speech.split(stream.hop)), stream.end()])
    busy = 100 * sum(stream.spent) / (len(speech) / SPEECH_HZ)
    name = f"streamed: {stream.latency_s:.2f} s\nlater, {busy:.0f} % of the time\nspent computing"
    figure = aperture_tracks(
        speaker.corpus, utterance, {"heard whole": torch.cat(list(speaker(load_sound(speech)))), name: streamed}, speech
    )
    plt.close(figure)  # or it is shown twice
    return figure
