"""How tables and figures name what an animator is trained on, and what a reader receives and reads."""

# The objectives of `training.joint` in tables; and in figures and differences, which have less room.
OBJECTIVE_LABELS = {"baseline": "baseline (L_mse)", "rlv": "+ L_rlv", "guided": "+ L_rlv + guidance"}
SHORT_OBJECTIVE_LABELS = {"baseline": "baseline", "rlv": "+ L_rlv", "guided": "guided"}

TRUTH, STILL = "truth", "still"  # scored like models: the scans themselves, and a face that does not move
STREAM_LABELS = {"audio and video": "speech and lips", "audio": "speech alone", "video": "lips alone"}
# Visemes and some of their phonemes: consonants from the lips to the throat, then vowels from spread to round lips.
VISEME_PHONEMES = {
    "p": "p b m",
    "f": "f v",
    "T": "θ ð",
    "t": "t d n l",
    "s": "s z",
    "S": "ʃ ʒ tʃ dʒ",
    "k": "k ɡ ŋ h",
    "r": "ɹ",
    "i": "i ɪ j",
    "e": "eɪ",
    "E": "ɛ ʌ ɜː",
    "a": "æ ɑ aɪ aʊ",
    "@": "ə",
    "O": "ɔ",
    "o": "oʊ",
    "u": "u ʊ w",
}
