"""All settings of a run, as frozen dataclasses with the defaults of the preset `demo`."""

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CorpusConfig:
    """The corpus: a 2D part (clips) that pre-trains the readers, and a 3D part (scans), split by subject.

    The embedded corpus has as many clips and sentences as set here. Of a corpus of scans, each subject's first so many
    sentences are used.
    """

    name: str = "embedded"  # embedded, facekit, vocaset, biwi, or the path of your corpus's specification (.json)
    data: str = ""  # folder of the scans in their owners' layout; the embedded corpus needs none
    strict: bool = False  # stop at a sequence that cannot be used, instead of excluding it
    clips_2d: int = 850  # training clips of the 2D part, each with its own sentence
    validation_clips_2d: int = 60  # held-out clips, on which the readers' error rates are measured
    judge_clips_2d: int = 500  # clips that train the judge and nothing else
    sentences_train: int = 12  # sentences of each training subject of the 3D part (embedded: 8 subjects)
    sentences_validation: int = 2  # of each validation subject (embedded: 4)
    sentences_test: int = 6  # of each test subject (embedded: 4)
    fps: int = 30  # frames per second of the embedded corpus's 3D motion; video for the readers is always 25 fps
    crop: int = 48  # side of the rendered lip crops, pixels
    effort: tuple = (0.5, 1.1)  # range of the effort of articulation of an utterance; the speech does not depend on it
    soft_silhouettes: bool = True  # blend silhouettes in all lip crops, so that the mouth's opening has a gradient
    noise_mm: float = 0.2  # simulated tracking noise on each coordinate of the embedded 3D part, millimetres
    # folder of your own recordings, x.wav beside x.txt, which the embedded face or ICT-FaceKit's speaks as well
    recordings: str = ""
    language: str = "en-us"  # of the speech and its transcripts: a code of espeak-ng, such as de or cmn
    # text file of sentences, one a line, that the embedded face or ICT-FaceKit's speaks; built-in English ones if empty
    sentences: str = ""
    # folder of real video that replaces the rendered 2D part: LRS2, LRS3, Auto-AVSR's layout, any folder with a table
    # of clips, or a folder made by avlib.cli.prepare_video
    video_corpus: str = ""
    # MediaPipe's face_landmarker.task, which locates the faces in video; if empty, a *.task in or beside its folder
    landmarks: str = ""
    # of a captured corpus: checkout of ICT-FaceKit, whose face is fitted to the film; MediaPipe's own mesh if empty
    face: str = ""
    rendered_share: float = 0.45  # of a captured corpus's training clips: renders of captured motion instead of film
    # share of the training clips that the judge alone learns from, where a 2D part has no clips for it, as film has not
    judge_share: float = 0.25
    seed: int = 0  # of the embedded corpus


@dataclass(frozen=True)
class SpeechConfig:
    """The speech encoder: a small wav2vec 2.0, trained by CTC on the 2D part's speech, or published weights."""

    conv_width: int = 48  # channels of the convolutions
    width: int = 128  # of the transformer
    layers: int = 2
    heads: int = 4
    epochs: int = 7
    batch: int = 4  # clips of average length in a batch
    lr: float = 2e-3
    pretrained: str = ""  # published weights to use instead: a folder, or a name on the Hugging Face hub


@dataclass(frozen=True)
class ReaderConfig:
    """A lip reader with Auto-AVSR's architecture, and its pre-training."""

    modalities: tuple = ("audio", "video")
    pretrained: str = ""  # file of Auto-AVSR's published weights to use instead; the sizes below are then ignored
    tokenizer: str = ""  # folder of the published unigram5000.model and unigram5000_units.txt; characters if empty
    # 2d: clips; 3d: renders of the training scans with their speech, for about as many steps as `epochs` of the clips;
    # both: clips and such renders
    trained_on: str = "2d"
    width: int = 128
    heads: int = 4
    feedforward: int = 512
    layers: int = 2
    kernel: int = 15  # of the Conformer's convolutions, frames
    decoder_layers: int = 2
    fusion: int = 512  # hidden width of the fusion of audio and video
    frontend_width: int = 8  # channels of the video stem; published: 64
    audio_frontend_width: int = 8  # channels of the audio stem; published: 64
    dropout: float = 0.0  # the short training underfits
    epochs: int = 7
    batch_frames: int = 200  # video frames in a batch, padding included
    lr: float = 2e-3
    warmup: float = 0.1  # share of the training
    average: int = 1  # the weights are averaged over so many last epochs; published: 10
    ctc: float = 0.5  # λ_ctc; attention has the weight 1 - λ_ctc. Published: 0.1; a short training needs more CTC
    phoneme: float = 50.0  # weight of the frame-wise phoneme loss, which is a mean; the others sum over an utterance
    babble_db: tuple = (10.0, 50.0)  # range of the signal-to-noise ratio with babble mixed from the corpus, dB
    drop_audio: float = 0.25  # share of clips whose audio an audio-visual reader does not receive
    drop_video: float = 0.15  # share of clips whose video it does not receive
    audio_only_fraction: float = 0.5  # first share of the training without any video: speech is learned sooner
    time_mask: float = 0.0  # longest masked time span per second of clip, seconds; published: 0.4
    # of products and convolutions in training: float32, or bfloat16 for accelerators that have it
    precision: str = "float32"


@dataclass(frozen=True)
class JudgeConfig:
    """The judge: a lip reader of another kind, after LipNet, that learns from clips which no other network has seen.

    Published: channels of 32, 64 and 96, width 256, dropout 0.5.
    """

    channels: tuple = (16, 32, 64)  # of the three convolutions
    width: int = 128  # of the GRUs, in each direction
    layers: int = 2
    dropout: float = 0.0  # the short training underfits
    epochs: int = 12  # up to four times as many on fewer clips than corpus.judge_clips_2d
    batch_frames: int = 400  # video frames in a batch, padding included
    lr: float = 3e-3
    warmup: float = 0.1  # share of the training
    average: int = 1  # the weights are averaged over so many last epochs
    phoneme: float = 50.0  # weight of the frame-wise phoneme loss, which is a mean; CTC sums over an utterance
    time_mask: float = 0.0  # longest masked time span per second of clip, seconds
    precision: str = "float32"  # see ReaderConfig


@dataclass(frozen=True)
class MeshReaderConfig:
    """A reader of lip vertices, a second guide that needs no pictures (`joint.lambda_mesh`), and its training."""

    width: int = 64
    heads: int = 4
    feedforward: int = 256
    layers: int = 2
    kernel: int = 15  # of the Conformer's convolutions, frames
    dropout: float = 0.1
    epochs: int = 60
    batch: int = 8  # utterances
    lr: float = 2e-3
    warmup: float = 0.1  # share of the training
    noise: float = 0.1  # on each coordinate, in multiples of the scans' root mean square motion
    phoneme: float = 50.0  # weight of the frame-wise phoneme loss, which is a mean; CTC sums over an utterance


@dataclass(frozen=True)
class SyncEncoderConfig:
    """What lip-sync scores are made with: an encoder of lip vertices and speech, and its training."""

    width: int = 64
    outputs: int = 64  # numbers that describe a window of lips or speech
    epochs: int = 8  # on held-out scans, the agreement is best after about so many
    batch: int = 8  # utterances
    lr: float = 4e-3
    warmup: float = 0.1  # share of the training
    noise: float = 0.5  # on each coordinate, in multiples of the scans' root mean square motion


@dataclass(frozen=True)
class AnimatorConfig:
    """Base of the settings of an animator: the group that has the animator's name."""


@dataclass(frozen=True)
class FaceFormerConfig(AnimatorConfig):
    """FaceFormer, with the sizes published for VOCASET."""

    width: int = 64
    heads: int = 4
    layers: int = 1


@dataclass(frozen=True)
class CodeTalkerConfig(AnimatorConfig):
    """CodeTalker, and the motion VQ-VAE that is trained before it (CodeTalker's stage one).

    Published for VOCASET: width 1024, 6 layers, 16 codes a frame of width 64, a codebook of 256, and for the VQ-VAE 200
    epochs at a learning rate of 1e-4.
    """

    width: int = 128
    heads: int = 4
    layers: int = 2
    scheduled_sampling: float = (
        1.0  # share of training frames whose input is the animator's own prediction; published: 0
    )
    vqvae_width: int = 128
    vqvae_layers: int = 2
    vqvae_heads: int = 8
    vqvae_hidden: int = 192  # width of the feed-forward layers
    codes_per_frame: int = 8
    code_width: int = 16
    codebook_size: int = 128
    code_projection: bool = False  # linear maps between the hidden width and the codes, as published for BIWI
    vqvae_epochs: int = 16  # on held-out scans the reconstruction is best after 12 to 16
    vqvae_batch: int = 4  # utterances
    vqvae_lr: float = 1e-3
    vqvae_lr_halving: float = 0.2  # the learning rate is halved after each such share of the training


@dataclass(frozen=True)
class JointConfig:
    """The joint training with L = λ_mse·L_mse + λ_av·L_av + λ_rlv·L_rlv."""

    # scanned sentences of each training subject that animators and motion VQ-VAE learn from, the first ones, in as many
    # steps as from all, so in more epochs; 0: all
    scans: int = 0
    epochs: int = 15  # the most of them, with patience
    # 0: exactly joint.epochs. Otherwise the steady part of the training, before the learning rates fall and the expert
    # guides, ends once the held-out LVE of so many epochs is, in the mean, less than 1 % below that of as many before;
    # the rest keeps its proportion.
    patience: int = 0
    batch: int = 8  # utterances
    lr: float = 1e-3  # of the animator
    lr_decay_fraction: float = 0.5  # last share of the training, over which the learning rates fall to 0; published: 0
    betas: tuple = (0.9, 0.98)  # of Adam; published: its usual 0.9, 0.999
    max_gradient_norm: float = 1.0  # to which each network's gradient is clipped; 0: no clipping, as published
    lambda_mse: float = 1.0
    lambda_rlv: float = 1.0  # 0 in the baseline
    context_frames: int = 0  # window of phonetic-context weights on both; 0: all frames count alike; published: 5
    lambda_av: float = 5e-3  # of guided animators; errors are in multiples of the scans' root mean square motion
    # λ_av for errors in the corpus's unit, as published (1e-7), in place of lambda_av; 0: lambda_av counts
    lambda_av_unscaled: float = 0.0
    # share of the gradient on the vertices that each reading term is given, in place of lambda_av and lambda_features
    share: float = 0.0
    share_steps: int = 0  # guided steps whose mean gradients decide what weight that is; 0: each step has its own
    # weight of the squared distance of the expert's features of predicted lips from those of true lips
    lambda_features: float = 0.0
    # of the expert's video encoder: 0 its front-end, 1, 2, ... its Conformer layers; -1 the last
    feature_layer: int = -1
    lambda_mesh: float = 0.0  # weight of what a reader of lip vertices reads, a second guide without pictures
    guided_per_batch: int = 4  # utterances of each batch that the expert reads
    # utterances a step of speech without scans (the 2D part's), which the expert reads on a training subject's face
    unscanned: int = 0
    lambda_unscanned: float = 5e-3  # weight of their L_av
    unscanned_target: str = "transcript"  # what they teach; or mesh, and as controls motion, speech (docs/guidance.md)
    unscanned_speech: str = ""  # folder of recordings x.wav with transcripts x.txt to use for that instead
    guidance_start: float = 0.5  # share of the training after which the expert guides and is fine-tuned
    guidance_fade: float = 0.0  # last share of the training over which the guidance falls to 0
    conflict: str = "keep"  # what is removed from the guidance's gradient: opposing, gain or, as a control, random
    guidance_components: int = 30  # principal motions onto which the guidance gradient is projected; 0: no projection
    # soft silhouettes of the lips that the expert reads, if the corpus has them; False: the opening has no gradient
    soft_silhouettes: bool = True
    backend: str = "avlib"  # rasteriser of the lips that the expert reads: avlib or pytorch3d
    expert_learns_from: str = "truth"  # lips that fine-tune the expert: truth, prediction, or frozen (no fine-tuning)
    expert_lr: float = 1e-4
    babble_db: tuple = (-10.0, 0.0)  # range of the signal-to-noise ratio of the guiding expert's speech input, dB
    drop_audio: float = 0.5  # share of utterances that the guiding expert reads without speech
    as_released: tuple = ()  # faults of the released code to reproduce: gradient, rate, normalisation


@dataclass(frozen=True)
class EvaluationConfig:
    """Reading and animating the test split."""

    beam: int = 10  # hypotheses of the beam search
    ctc_weight: float = 0.5  # in the beam search; as λ_ctc in training
    length_bonus: float = 0.0  # in the beam search, for each token
    # take the beam, up to `beam`, and the two weights with which the reader reads validation renders best
    choose_search: bool = False
    styles: int = 4  # training styles in which each test sentence is animated
    tsne_perplexity: float = 20.0
    # the two words whose features are compared; if the held-out sentences lack them, others are chosen from these
    words: tuple = ("just", "must")


@dataclass(frozen=True)
class Config:
    """All settings of a run. Groups are addressed with a dot: `--set joint.epochs=3`."""

    preset: str = "demo"  # that the settings started from
    method: str = "avlib"  # of training: avlib, paper or released; see core/published.py
    seed: int = 0  # of the pre-training
    # one pre-training of the speech encoder, the expert and the motion VQ-VAE for each training seed, with that seed,
    # instead of one for all; the readers that score stay the same
    pretrain_each_seed: bool = False
    device: str = "auto"  # cpu, cuda or auto
    animators: tuple = ("faceformer", "codetalker")
    # groups of variants to train and evaluate as well: ablation, budget, published, scans, guiding, weight, expert,
    # audio_condition, gradient_projection, faults
    variants: tuple = ()
    few_scans: tuple = (2, 4, 8, 16)  # numbers of scanned sentences of each subject in variants scans; some of these
    plugins: tuple = ()  # Python files with animators of your own; they are executed
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    # While it guides (joint.babble_db, joint.drop_audio), the expert has speech in loud babble or none: pre-training
    # covers both.
    expert: ReaderConfig = field(
        default_factory=lambda: ReaderConfig(
            babble_db=(-10.0, 30.0), drop_audio=0.5, drop_video=0.1, audio_only_fraction=0.2
        )
    )
    reader: ReaderConfig = field(default_factory=lambda: ReaderConfig(modalities=("video",), epochs=6))
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    mesh_reader: MeshReaderConfig = field(default_factory=MeshReaderConfig)
    sync_encoder: SyncEncoderConfig = field(default_factory=SyncEncoderConfig)
    faceformer: FaceFormerConfig = field(default_factory=FaceFormerConfig)
    codetalker: CodeTalkerConfig = field(default_factory=CodeTalkerConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def as_dict(config: Config) -> dict:
    """The settings as nested dictionaries."""
    return dataclasses.asdict(config)
