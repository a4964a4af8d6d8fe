"""How tables and figures name what a reader receives and reads."""

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
