"""Things to look at: faces, lip strips, tracks under speech, curves, confusions, t-SNE maps, and clips with sound."""
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from .audio import SpeechFile
from .camera import camera_for
from .corpus import SPEECH_HZ, Clips, Corpus, Utterance
from .expert import Expert
from .lips import lip_video
from .metrics import lip_aperture
from .probes import SOUNDS, STREAMS
from .render import Renderer
from .run import write_atomic

plt.rcParams.update({"figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
                     "savefig.bbox": "tight"})
COLOURS = dict(zip(STREAMS, ("tab:blue", "tab:orange", "tab:green")))       # of what a reader is given
LINES = ("-", "--", ":")                                                    # of readers, one after the other


@torch.no_grad()
def faces(corpus: Corpus, vertices: torch.Tensor, size: int = 256) -> torch.Tensor:
    """Whole faces from the front: (T, V, 3) -> (T, size, size) uint8, silhouettes smooth."""
    camera = camera_for(corpus.templates[corpus.subjects["train"][0]], size)
    renderer = Renderer(corpus.faces, camera, albedo=corpus.albedo, antialias=True)
    return torch.cat([(renderer(v) * 255).round().byte() for v in vertices.split(16)])


def people(corpus: Corpus) -> Figure:
    """Every subject at rest."""
    pictures = faces(corpus, torch.stack(list(corpus.templates.values())), 192)
    figure, axes = plt.subplots(2, (len(pictures) + 1) // 2, figsize=(len(pictures), 4.4), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, name in zip(axes.flat, pictures, corpus.templates):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, fontsize=8)
    figure.subplots_adjust(wspace=0.03, hspace=0.1)
    return figure


@torch.no_grad()
def lips(corpus: Corpus, motion: torch.Tensor) -> torch.Tensor:
    """The lip crops that a reader is given of a motion (T, V, 3): (T', H, W) uint8 at 25 fps."""
    video, _ = lip_video(corpus)(motion[None], torch.tensor([len(motion)]))
    return (video[0] * 255).round().byte()


def enlarged(video: torch.Tensor, times: int) -> torch.Tensor:
    """(T, H, W) with every pixel `times` as large."""
    return video.repeat_interleave(times, -1).repeat_interleave(times, -2)


def lips_of(corpus: Corpus, motions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: lips(corpus, motion) for name, motion in motions.items()}


def first_clips(clips: Clips, count: int) -> dict[str, torch.Tensor]:
    """The first clips' sentences and videos."""
    return {clips.utterances[i].text: clips.video(i) for i in range(min(count, len(clips)))}


def faces_beside(corpus: Corpus, motions: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """Whole faces side by side, (T, size, N * size) uint8, each under its name; as long as the shortest motion."""
    frames = min(map(len, motions.values()))
    return torch.cat([titled(faces(corpus, motion[:frames], size), name) for name, motion in motions.items()], -1)


def titled(video: torch.Tensor, name: str) -> torch.Tensor:
    """(T, H, W) uint8 with a name, in white, at its upper edge; as large as fits."""
    width = video.shape[2]
    font = next(f for f in (ImageFont.load_default(width / n) for n in range(16, width)) if f.getlength(name) < 0.95 * width)
    left, top, right, bottom = map(int, font.getbbox(name))
    letters = Image.new("L", (width, bottom + top + 2))
    ImageDraw.Draw(letters).text(((width - right) / 2, 1), name, 255, font)
    title = torch.from_numpy(np.array(letters)).expand(len(video), -1, -1)
    height = title.shape[1]
    return torch.cat([torch.maximum(video[:, :height], title), video[:, height:]], 1)


def write_moving(path: Path, video: torch.Tensor, fps: float) -> Path:
    """A silent moving picture that pages and mails show at once, an animated WebP. video: (T, H, W) uint8."""
    first, *others = (Image.fromarray(frame.numpy()) for frame in video)
    return write_atomic(path, lambda p: first.save(p, "WEBP", save_all=True, append_images=others, duration=1000 / fps, loop=0,
                                                   quality=60, method=4))


def write_clip(path: Path, video: torch.Tensor | Iterable[torch.Tensor], fps: float, speech: "torch.Tensor | SpeechFile"
               ) -> Path:
    """An MP4 (H.264, AAC) that any browser plays. video: (T, H, W) uint8 with even sides, or pieces of it as they are
    made; speech: (S,) at 16 kHz."""
    pieces = [video] if torch.is_tensor(video) else video

    def write(temporary: Path):
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as out:
            pictures = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "20"})
            sound = out.add_stream("aac", rate=SPEECH_HZ, layout="mono")
            frames = said = 0

            def say(until: int):
                nonlocal said
                for begin in range(said, until, SPEECH_HZ):
                    samples = (speech[begin:min(begin + SPEECH_HZ, until)].clamp(-1, 1) * 32767).short().numpy()[None]
                    audio = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
                    audio.sample_rate, audio.pts = SPEECH_HZ, begin
                    out.mux(sound.encode(audio))
                said = max(said, until)

            for piece in pieces:
                if not frames:
                    pictures.height, pictures.width = piece.shape[1:]
                    pictures.pix_fmt = "yuv420p"
                for frame in piece:
                    rgb = frame[..., None].expand(-1, -1, 3).contiguous().numpy()
                    out.mux(pictures.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
                frames += len(piece)
                say(min(int(frames / fps) * SPEECH_HZ, len(speech)))        # beside its pictures, in whole seconds
            out.mux(pictures.encode())
            say(len(speech))
            out.mux(sound.encode())
    return write_atomic(path, write)


def save(figure: Figure, path: Path) -> Figure:
    write_atomic(path, lambda p: figure.savefig(p))
    return figure


def nothing(told: str) -> Figure:
    """In place of a picture, what there is not."""
    figure, axis = plt.subplots(figsize=(5, 0.4))
    axis.set_axis_off()
    axis.text(0, 0.5, told, va="center", fontsize=9)
    return figure


def strip(rows: dict[str, torch.Tensor], every: int = 1, columns: int = 12) -> Figure:
    """Rows of pictures, name -> (T, H, W), one picture every `every` frames."""
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns, 1.12 * len(rows)), squeeze=False)
    for line, (name, video) in zip(axes, rows.items()):
        for k, axis in enumerate(line):
            axis.axis("off")
            if k * every < len(video):
                axis.imshow(video[k * every], cmap="gray", vmin=0, vmax=255 if video.dtype == torch.uint8 else 1)
        line[0].set_title(name, loc="left", fontsize=8)
    figure.subplots_adjust(wspace=0.03, hspace=0.3)
    return figure


def aperture(corpus: Corpus, motion: torch.Tensor) -> torch.Tensor:
    """Lip opening over time, (T,): millimetres, or thousandths of another unit."""
    upper, lower = corpus.regions["upper_lip_middle"], corpus.regions["lower_lip_middle"]
    return 1000 * lip_aperture(motion, int(upper[0]), int(lower[0]))


def tracks(corpus: Corpus, utterance: Utterance, motions: dict[str, torch.Tensor], speech: torch.Tensor,
           panels: list[list[str]] | None = None) -> Figure:
    """Waveform, lip aperture of each motion and the phonemes, over the same seconds. panels: names of the motions that
    share a panel, each beside the first motion; all in one unless given."""
    first, *rest = motions
    panels = [rest] if panels is None else panels
    figure, (wave, *axes) = plt.subplots(1 + len(panels), 1, figsize=(11, 1.2 + 2.4 * len(panels)), sharex=True,
                                         height_ratios=[1] + [2] * len(panels))
    wave.plot(np.arange(len(speech)) / SPEECH_HZ, speech, lw=0.4, color="0.35")
    wave.set(yticks=[], ylabel="speech", title=f"{utterance.subject}: “{utterance.text}”")
    for lips, names in zip(axes, panels):
        for name in [first, *names]:
            lips.plot(np.arange(len(motions[name])) / corpus.fps, aperture(corpus, motions[name]), label=name, lw=1.3)
        low, high = lips.get_ylim()
        for p in utterance.phonemes:
            closed = p.label.lstrip("ˈˌ")[:1] in ("p", "b", "m")
            lips.axvspan(p.start_s, p.end_s, color="tab:red" if closed else "0.5", alpha=0.15 if closed else 0.04, lw=0)
            lips.text((p.start_s + p.end_s) / 2, high, p.label, ha="center", fontsize=7)
        lips.set(ylabel=f"lip aperture, {'mm' if corpus.unit == 'm' else f'1e-3 {corpus.unit}'}", ylim=(low, high + 0.12 * (high - low)))
        if names:
            lips.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1].set(xlabel="seconds")
    return figure


def curves(histories: dict[str, list[dict]], fields: list[str]) -> Figure:
    """One panel a field that any history has, one line a history, over epochs."""
    fields = [f for f in fields if any(f in row for history in histories.values() for row in history)]
    if not fields:
        return nothing("No curves: nothing was trained here.")
    figure, axes = plt.subplots(1, len(fields), figsize=(3.3 * len(fields), 2.5), squeeze=False)
    for axis, name in zip(axes[0], fields):
        for label, history in histories.items():
            line = [(i + 1, row[name]) for i, row in enumerate(history) if name in row]
            if line:
                axis.plot(*zip(*line), marker=".", label=label)
        axis.set(title=name, xlabel="epoch", ylim=(0, None))
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return figure


def shares(history: list[dict]) -> Figure:
    """Each term's share of the gradient on the predicted vertices, over epochs."""
    names = sorted({k for row in history for k in row if k.startswith("share_")})
    figure, axis = plt.subplots(figsize=(4.5, 2.5))
    axis.stackplot(range(1, len(history) + 1), [[row.get(k, 0.0) for row in history] for k in names],
                   labels=[k[6:] for k in names], alpha=0.8)
    axis.set(xlabel="epoch", ylabel="share of the gradient", ylim=(0, 1))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def effects(groups: dict[str, dict[str, dict]], metrics: dict[str, tuple[float, str]]) -> Figure:
    """Differences with their intervals, a column for each metric: {group: {row: {metric: `tables.difference`}}}, and of each metric what
    one printed unit is, and its name. Grey where the interval holds zero."""
    lines = [line for title, group in groups.items() for line in [(title, {}), *group.items()]]
    figure, axes = plt.subplots(1, len(metrics), figsize=(2.6 * len(metrics) + 3, 0.23 * len(lines) + 0.7), sharey=True)
    for axis, (metric, (scale, unit)) in zip(axes, metrics.items()):
        axis.axvline(0, color="0.7", lw=0.8)
        for y, (_, found) in enumerate(lines):
            if found.get(metric):
                low, middle, high = (found[metric][k] / scale for k in ("low", "difference", "high"))
                colour = "tab:blue" if high < 0 else "tab:orange" if low > 0 else "0.6"
                axis.plot([low, high], [y, y], color=colour, lw=1.5)
                axis.plot(middle, y, "o", color=colour, ms=4)
        axis.set_title(f"{metric} ({unit})", fontsize=9)
        axis.spines[["left", "right", "top"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set(yticks=range(len(lines)), yticklabels=[name for name, _ in lines], ylim=(len(lines) - 0.5, -0.5))
    for label in axes[0].get_yticklabels():
        label.set_weight("bold" if label.get_text() in groups else "normal")
    return figure


def maps(record: dict, of: str = "") -> Figure:
    """t-SNE maps of `tsne.record`: a row for each space whose name ends with `of`, a column for each perplexity and seed."""
    rows = {name: drawn for name, drawn in record["maps"].items() if name.endswith(of)}
    words = sorted({word for points in record["points"].values() for word, *_ in points})
    if not rows:
        return nothing("No maps: too few sentences say the words.")
    figure, axes = plt.subplots(len(rows), max(map(len, rows.values())), figsize=(11, 2.9 * len(rows)), squeeze=False,
                                layout="constrained")
    for line, (name, drawn) in zip(axes, rows.items()):
        labels = np.array([word for word, *_ in record["points"][name]])
        for axis, m in zip(line, drawn):
            for word, colour in zip(words, ("tab:blue", "tab:orange")):
                axis.scatter(*np.array(m["points"])[labels == word].T, s=6, alpha=0.75, color=colour, label=word)
            axis.set(xticks=[], yticks=[], xlabel=f"silhouette {m['silhouette']:.2f}")
            axis.set_title(f"perplexity {m['perplexity']:.3g}, seed {m['seed']}", fontsize=8)
        line[0].set_ylabel(name)
    axes[0][0].legend(frameon=False)
    return figure


def rates(histories: dict[str, list[dict]], readers: dict[str, Expert]) -> Figure:
    """Held-out character error rates over epochs: a line for each reader and what it was given."""
    figure, axis = plt.subplots(figsize=(4.2, 2.8))
    for (stage, reader), style in zip(readers.items(), LINES):
        fields = {"audio": "cer_audio", "video": "cer_video", " and ".join(sorted(reader.modalities)): "cer"}
        for streams in (s for s in STREAMS if s in fields):
            line = [(i + 1, 100 * row[fields[streams]]) for i, row in enumerate(histories[stage]) if fields[streams] in row]
            if line:
                axis.plot(*zip(*line), style, marker=".", color=COLOURS[streams], label=f"{stage}, {STREAMS[streams]}")
    if not axis.lines:
        plt.close(figure)
        return nothing("No rates: no reader was trained here.")
    axis.set(xlabel="epoch", ylabel="character error rate, %", ylim=(0, None))
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def noise(record: dict) -> Figure:
    """Characters read right over the level of babble, of the stage "noise": a line for each reader and what it was given."""
    figure, axis = plt.subplots(figsize=(6.2, 3.4))
    levels = record["levels_db"]
    clean = max(level for level in levels if level is not None) + 10        # where speech without babble stands
    at = [clean if level is None else level for level in levels]
    for (stage, accuracy), style in zip(record["accuracy"].items(), LINES):
        for streams in (s for s in STREAMS if s in accuracy):
            values, deaf = accuracy[streams], len(accuracy[streams]) == 1
            axis.plot(at, values * len(at) if deaf else values, style, marker="" if deaf else ".", color=COLOURS[streams],
                      label=f"{stage}, {STREAMS[streams]}")
    axis.set(xlabel="speech over babble, dB", ylabel="characters read right, %", xticks=at,
             xticklabels=["no babble" if level is None else level for level in levels])
    axis.set_ylim(min(0, axis.get_ylim()[0]), 100)
    axis.invert_xaxis()
    axis.grid(axis="y", lw=0.3)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confusion(record: dict) -> Figure:
    """Which visemes were read as which, of the stage "visemes": a panel for each reader, every row in % of its sum."""
    names, counts = list(SOUNDS.values()), record["counts"]
    figure, axes = plt.subplots(1, len(counts), figsize=(1 + 4.5 * len(counts), 5), squeeze=False, sharey=True, layout="constrained")
    for axis, (stage, table) in zip(axes[0], counts.items()):
        table = np.array(table)
        totals, said = table.sum(1), table[:-1].sum()
        share = 100 * table / np.maximum(1, totals)[:, None]
        axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for i, j in np.argwhere(share >= 0.5):
            axis.text(j, i, f"{share[i, j]:.0f}", ha="center", va="center", fontsize=7, color="w" if share[i, j] > 55 else "0.2")
        for line in (axis.axhline, axis.axvline):
            line(len(names) - 0.5, color="0.6", lw=0.8)
        axis.set_xticks(range(len(names) + 1), [*names, "deleted"], rotation=90)
        axis.set_yticks(range(len(names) + 1), [*(f"{name}  ({n})" for name, n in zip(names, totals)), "inserted"])
        axis.tick_params(length=0)
        axis.set(title=f"{stage}: {100 * table[:-1].diagonal().sum() / max(1, said):.0f} % of {said} visemes read right",
                 xlabel=f"read; {totals[-1]} more inserted")
    axes[0][0].set_ylabel("said (times)")
    return figure
