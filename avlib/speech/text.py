"""Texts in the encodings that people have, their normalisation, and tokenizers of the readers."""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

LARGEST_TEXT = 1 << 26  # bytes
BLANK = 0  # token id of the CTC blank


APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`′＇", "'"))  # and what people type in their place
# A pair of single quotation marks: the first begins a word, but none that is written with an apostrophe; the second
# ends one.
QUOTED = re.compile(r"(?<!\w)'(?!(?:tis|twas|cause|em|til|bout|round|n)\b)(\w.*?)'(?!\w)", re.S)


def normalise_text(text: str) -> str:
    """Lower case, without accents and punctuation except apostrophes, single spaces. Digits are kept."""
    decomposed = unicodedata.normalize("NFKD", text.translate(APOSTROPHES))
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).lower()
    return " ".join(re.sub(r"[^\w']|_", " ", QUOTED.sub(r"\1", plain)).split())


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, Windows-1252, or UTF-16 with a byte order mark.

    ValueError, naming the file, if it is missing, in no such encoding, or empty.
    """
    if not path.is_file():
        raise ValueError(f"no transcript '{path.name}'")
    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"transcript '{path.name}' has {path.stat().st_size} bytes, expected at most {LARGEST_TEXT}")
    content = path.read_bytes()
    encodings = ("utf-8-sig", "cp1252")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ("utf-16",)
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:  # of UTF-16 without a mark, or of no text at all
            break
        if not text.strip():
            raise ValueError(f"transcript '{path.name}' is empty")
        return text
    raise ValueError(f"transcript '{path.name}' is not a text in UTF-8, Windows-1252 or UTF-16 with a byte order mark")


class Tokenizer:
    """Encodes texts as token ids, and decodes them. Id 0 is the CTC blank, the last id is start and end.

    units: the texts of ids 1, 2, ...; the characters of the embedded corpus by default.
    """

    def __init__(self, units: Iterable[str] = " 'abcdefghijklmnopqrstuvwxyz"):
        self.units = tuple(units)
        self.ids = {unit: i for i, unit in enumerate(self.units, start=1)}

    @property
    def size(self) -> int:
        """Number of ids, including blank and start/end."""
        return len(self.units) + 2

    def split(self, text: str) -> list[str]:
        """The text as a sequence of units."""
        return list(text)

    def unknown(self, text: str) -> list[str]:
        """The units of the text that have no id."""
        return sorted(set(self.split(text)) - self.ids.keys())

    def encode(self, text: str) -> list[int]:
        """The ids of a text. ValueError names units without an id."""
        if unknown := self.unknown(text):
            raise ValueError(f"text {text!r}: no token for {', '.join(map(repr, unknown))}; see `normalise_text`")
        return [self.ids[unit] for unit in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; blank and start/end have none. ValueError names ids out of range."""
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < self.size]:
            raise ValueError(f"token ids {wrong}: outside 0 to {self.size - 1}")
        return "".join(self.units[i - 1] for i in ids if 0 < i < self.size - 1)


class SentencePieceTokenizer(Tokenizer):
    """Auto-AVSR's units: a SentencePiece model splits the text; a list of lines "unit id" gives the pieces their ids.

    The model is trained on upper-case text: `encode` converts texts to upper case, `decode` to lower case.
    """

    def __init__(self, model: str | Path, units: str | Path):
        for path in (model, units):
            if not Path(path).is_file():
                raise ValueError(f"{path}: no such file")
        lines = [line.split() for line in Path(units).read_text(encoding="utf-8").splitlines()]
        if [line[1:] for line in lines] != [[str(i)] for i in range(1, len(lines) + 1)]:
            raise ValueError(f"{units}: expected lines 'unit id' with ids 1, 2, 3, ...")
        super().__init__(unit for unit, _ in lines)
        try:
            self.model = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{model}: not a SentencePiece model") from error

    def split(self, text: str) -> list[str]:
        return self.model.encode(text.upper(), out_type=str)

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).replace("▁", " ").strip().lower()

    @staticmethod
    def of_folder(folder: str | Path) -> "SentencePieceTokenizer":
        """The only model of a folder, <name>.model, with <name>_units.txt beside it."""
        models = sorted(Path(folder).glob("[!.]*.model"))
        if len(models) != 1:
            raise ValueError(
                f"{folder}: {len(models)} files *.model, expected one, such as unigram5000.model with "
                "unigram5000_units.txt"
            )
        return SentencePieceTokenizer(models[0], models[0].with_name(f"{models[0].stem}_units.txt"))


def train_units(texts: Iterable[str], count: int) -> tuple[bytes, str]:
    """Trains a SentencePiece unigram model of `count` pieces; returns it and the list of its units with their ids.

    As Auto-AVSR does: on texts in upper case, <unk> is the first unit, the others are sorted. Deterministic: equal
    texts give equal bytes. ValueError where SentencePiece cannot train so many pieces on the texts.
    """
    texts, model = [text.upper() for text in texts], io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=count,
            num_threads=1,
            model_type="unigram",
            character_coverage=1.0,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).partition("] ")[2].split()) or error  # the text after the library's source line
        raise ValueError(f"{count} units of {len(texts)} transcripts: {reason}") from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = [i for i in range(processor.vocab_size()) if not (processor.is_control(i) or processor.is_unknown(i))]
    units = ["<unk>", *sorted(processor.id_to_piece(i) for i in ids)]
    return model.getvalue(), "".join(f"{unit} {i}\n" for i, unit in enumerate(units, start=1))
