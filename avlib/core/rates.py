"""Sample and frame rates that every module shares."""

SPEECH_HZ = 16_000
FEATURES_PER_SECOND = 50
WINDOW = 400  # samples that one wav2vec 2.0 feature sees: the shortest speech there is

VIDEO_FPS = 25  # of everything that a reader sees
SAMPLES_PER_FRAME = SPEECH_HZ // VIDEO_FPS  # 640 samples of speech beside each video frame
