"""Sample and frame rates that every module shares."""

SPEECH_HZ = 16_000
FEATURES_PER_SECOND = 50
WINDOW = 400  # samples in the receptive field of a wav2vec 2.0 feature: the shortest possible speech

VIDEO_FPS = 25  # of all video for readers
SAMPLES_PER_FRAME = SPEECH_HZ // VIDEO_FPS  # 640 samples of speech for each video frame
