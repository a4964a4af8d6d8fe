"""How tables and figures name what an animator is trained on, and what a reader receives and reads."""

# The objectives of `training.joint` in tables; and in figures and differences, which have less room.
OBJECTIVE_LABELS = {"baseline": "baseline (L_mse)", "rlv": "+ L_rlv", "guided": "+ L_rlv + guidance"}
SHORT_OBJECTIVE_LABELS = {"baseline": "baseline", "rlv": "+ L_rlv", "guided": "guided"}

METRICS = ("LVE", "CER", "VER", "CER_judge", "VER_judge")  # of the main tables

# Predictions that no training made, scored like models; see `reference_predictions`. The last four are ideal ones.
TRUTH, STILL, LATE = "truth", "still", "late"
ALL_KNOWN, OWN_STYLE, TRAINING_STYLES, FLOOR = "all-known", "own-style", "training-styles", "floor"
REFERENCE_LABELS = {
    TRUTH: "Ground truth",
    STILL: "Still face",
    LATE: "One frame late",
    ALL_KNOWN: "All known but tracking noise",
    OWN_STYLE: "Best guess, own style",
    TRAINING_STYLES: "Best guess, training styles",
    FLOOR: "Best guess, style unknown (floor)",
}
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
