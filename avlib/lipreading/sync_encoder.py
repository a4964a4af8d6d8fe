"""An encoder that maps moments of lip motion and of speech to the same space: near where they belong together.

Contrastive, over windows of five frames, as SyncNet (Chung and Zisserman 2016, "Out of time: automated lip sync in the
wild") and the speech-mesh representation of Chae-Yeon et al. 2025 are. It sees the vertices of the lips, so that
neither the pose of the head nor light or skin matter.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from ..core.distributed import mean_over
from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ
from ..core.tensors import frame_mask

WINDOW = 5  # frames of 25 fps video: 0.2 s
HOPS_PER_FRAME, FFT, MELS = 4, 400, 40  # spectra of 25 ms, every 10 ms
FLOOR_DB = -40.0  # of spectra, relative to the loudest frame


class WindowEncoder(nn.Module):
    """Windows of five frames to vectors of length one: a layer on each frame, one over the window, and a linear map."""

    def __init__(self, inputs: int, width: int, outputs: int):
        super().__init__()
        self.frame = nn.Conv1d(inputs, width, 1)
        self.window = nn.Conv1d(width, width, WINDOW, padding=WINDOW // 2)
        self.out = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, inputs), of which `lengths` (B,) are valid -> (B, T, outputs). What follows the last frame is as
        zero to the window as what precedes the first."""
        valid = frame_mask(lengths, x.shape[1], x.device)[:, None]
        hidden = F.relu(self.frame(x.transpose(1, 2))) * valid
        return F.normalize(self.out(F.relu(self.window(hidden))), dim=1).transpose(1, 2)


class SyncEncoder(nn.Module):
    """Encoders of lip motion and of speech, and the temperature of their contrast."""

    def __init__(self, vertices: int, width: int = 128, outputs: int = 64):
        """vertices: of the lips."""
        super().__init__()
        self.lips = WindowEncoder(3 * vertices, width, outputs)
        self.speech = WindowEncoder(HOPS_PER_FRAME * MELS, width, outputs)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # of similarities, the inverse of the temperature

    def encode(self, displacement: Tensor, spectra: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of length one, (B, T, outputs), of the lips and of the speech around each frame.

        displacement: (B, T, L, 3) of the lips from the face at rest, of order one, at 25 fps; spectra: (B, T, ...) of
        `frame_spectra`; lengths: (B,) frames.
        """
        return self.lips(displacement.flatten(2), lengths), self.speech(spectra.flatten(2), lengths)

    def loss(self, lips: Tensor, speech: Tensor, lengths: Tensor) -> Tensor:
        """Cross-entropy, in nats a frame, of finding each window's counterpart among all of the same utterance (InfoNCE
        in both directions; van den Oord et al. 2018). Other utterances would be told apart by the voice alone."""
        valid = frame_mask(lengths, lips.shape[1], lips.device)
        similarity = self.log_scale.exp() * lips @ speech.transpose(1, 2)  # (B, T, T)
        similarity = similarity.masked_fill(~(valid[:, None] & valid[..., None]), -1e4)
        own = similarity.diagonal(dim1=1, dim2=2)
        surprise = similarity.logsumexp(1) + similarity.logsumexp(2) - 2 * own
        return mean_over(0.5 * surprise.masked_fill(~valid, 0.0).sum(), lengths.sum())


def frame_spectra(speech: Tensor, frames: int) -> Tensor:
    """Mel spectra in logarithms around each frame of 25 fps video, (frames, 4, 40), as loud whoever speaks.

    speech: (S,) at 16 kHz; silence follows where it is shorter. Each band has mean 0 and, over all bands, variance 1.
    """
    hop, samples = SAMPLES_PER_FRAME // HOPS_PER_FRAME, frames * SAMPLES_PER_FRAME
    speech = F.pad(speech[:samples], (FFT // 2, FFT // 2 + max(0, samples - len(speech))))
    windows = speech.unfold(0, FFT, hop)[: frames * HOPS_PER_FRAME] * torch.hann_window(FFT, device=speech.device)
    filters = melscale_fbanks(FFT // 2 + 1, 60.0, 7000.0, MELS, SPEECH_HZ, norm="slaney").to(speech.device)
    mel = torch.fft.rfft(windows).abs().square() @ filters
    logarithms = (mel + 10 ** (FLOOR_DB / 10) * mel.sum(1).max() / MELS + 1e-10).log()
    centred = logarithms - logarithms.mean(0)
    return (centred / (centred.square().mean().sqrt() + 1e-6)).unflatten(0, (frames, HOPS_PER_FRAME))
