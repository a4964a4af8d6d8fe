"""Texts in the encodings that people have, their normalisation, and tokenizers of the readers."""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from .languages import ENGLISH

LARGEST_TEXT = 1 << 26  # bytes
BLANK = 0  # token id of the CTC blank


APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´`′＇", "'"))  # and what people type in their place
# A pair of single quotation marks: the first begins a word, but none that is written with an apostrophe; the second
# ends one.
QUOTED = re.compile(r"(?<!\w)'(?!(?:tis|twas|cause|em|til|bout|round|n)\b)(\w.*?)'(?!\w)", re.S)


ENGLISH_CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
DOTLESS_I = ("tr", "az")  # languages whose lower case of I is ı


def normalise_text(text: str, language: str = ENGLISH) -> str:
    """Lower case, without punctuation except apostrophes, single spaces; English without accents, too. Digits are kept,
    so that whoever checks the text can name them."""
    if language != ENGLISH:
        return _normalise_letters(text, language)
    decomposed = unicodedata.normalize("NFKD", text.translate(APOSTROPHES))
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).lower()
    return " ".join(re.sub(r"[^\w']|_", " ", QUOTED.sub(r"\1", plain)).split())


def _normalise_letters(text: str, language: str) -> str:
    """Letters of any script with their accents, composed (NFC), as far as Unicode has them."""
    text = text.translate(APOSTROPHES)
    if language in DOTLESS_I:
        text = text.replace("I", "ı").replace("İ", "i")
    composed = unicodedata.normalize("NFC", text.lower())
    # format characters, such as soft hyphens and joiners, are within words; all else that is not written separates them
    plain = "".join(c if _is_written(c) else " " for c in composed if unicodedata.category(c) != "Cf")
    return " ".join(QUOTED.sub(r"\1", plain).split())


def _is_written(character: str) -> bool:
    """Whether a character is a letter, a mark of one, a digit or an apostrophe."""
    return character == "'" or unicodedata.category(character)[0] in "LMN"


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

    units: the texts of ids 1, 2, ...; English characters by default. language: of the texts.
    """

    def __init__(self, units: Iterable[str] = ENGLISH_CHARACTERS, language: str = ENGLISH):
        self.units, self.language = tuple(units), language
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

    def check(self, text: str) -> None:
        """ValueError names units of the text without an id."""
        if unknown := self.unknown(text):
            raise ValueError(f"text {text!r}: no token for {', '.join(map(repr, unknown))}; see `normalise_text`")

    def encode(self, text: str) -> list[int]:
        """The ids of a text. ValueError names units without an id."""
        self.check(text)
        return [self.ids[unit] for unit in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; blank and start/end have none. ValueError names ids out of range."""
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < self.size]:
            raise ValueError(f"token ids {wrong}: outside 0 to {self.size - 1}")
        return "".join(self.units[i - 1] for i in ids if 0 < i < self.size - 1)


class AnyLetters(Tokenizer):
    """Checks texts of a language whose characters are not collected yet: knows all letters, but no digits."""

    def __init__(self, language: str):
        super().__init__("", language)

    def unknown(self, text: str) -> list[str]:
        return sorted({c for c in text if c not in " '" and unicodedata.category(c)[0] not in "LM"})


def transcript_check(language: str) -> Tokenizer:
    """A tokenizer that knows what the transcripts of a language may contain."""
    return Tokenizer() if language == ENGLISH else AnyLetters(language)


def characters_of(texts: Iterable[str], language: str) -> Tokenizer:
    """The characters of normalised texts, sorted; of English, its alphabet, whatever the texts."""
    return Tokenizer() if language == ENGLISH else Tokenizer(sorted({" "}.union(*texts)), language)


class SentencePieceTokenizer(Tokenizer):
    """Auto-AVSR's units: a SentencePiece model splits the text; a list of lines "unit id" gives the pieces their ids.

    An English model is trained on upper-case text: `encode` converts texts to upper case, `decode` to lower case.
    Models of other languages are trained on lower case: upper case would make ß of a German text ss.
    """

    def __init__(self, model: str | Path, units: str | Path, language: str = ENGLISH):
        for path in (model, units):
            if not Path(path).is_file():
                raise ValueError(f"{path}: no such file")
        lines = [line.split() for line in Path(units).read_text(encoding="utf-8").splitlines()]
        if [line[1:] for line in lines] != [[str(i)] for i in range(1, len(lines) + 1)]:
            raise ValueError(f"{units}: expected lines 'unit id' with ids 1, 2, 3, ...")
        super().__init__((unit for unit, _ in lines), language)
        try:
            self.model = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{model}: not a SentencePiece model") from error

    def split(self, text: str) -> list[str]:
        return self.model.encode(_cased(text, self.language), out_type=str)

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).replace("▁", " ").strip().lower()

    @staticmethod
    def of_folder(folder: str | Path, language: str = ENGLISH) -> "SentencePieceTokenizer":
        """The only model of a folder, <name>.model, with <name>_units.txt beside it."""
        models = sorted(Path(folder).glob("[!.]*.model"))
        if len(models) != 1:
            raise ValueError(
                f"{folder}: {len(models)} files *.model, expected one, such as unigram5000.model with "
                "unigram5000_units.txt"
            )
        return SentencePieceTokenizer(models[0], models[0].with_name(f"{models[0].stem}_units.txt"), language)


def _cased(text: str, language: str) -> str:
    """A text in the case that SentencePiece models of its language are trained on."""
    return text.upper() if language == ENGLISH else text


def train_units(texts: Iterable[str], count: int, language: str = ENGLISH) -> tuple[bytes, str]:
    """Trains a SentencePiece unigram model of `count` pieces; returns it and the list of its units with their ids.

    As Auto-AVSR does: English texts are in upper case, <unk> is the first unit, the others are sorted. Deterministic:
    equal texts give equal bytes. ValueError where SentencePiece cannot train so many pieces on the texts.
    """
    texts, model = [_cased(text, language) for text in texts], io.BytesIO()
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
