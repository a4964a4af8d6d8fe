"""Texts as token ids for the readers, and as viseme strings for the viseme error rate."""

import io
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import sentencepiece


def normalise_text(text: str) -> str:
    """Lower case, no accents, no punctuation but apostrophes, single spaces. Digits stay: spell numbers out."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.replace("’", "'")) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w']|_", " ", plain.lower()).split())


class Tokenizer:
    """Texts as ids and back. Id 0 is the CTC blank, the last id is start and end; neither carries text.

    units: the text of ids 1, 2, ...; by default the characters of the embedded corpus.
    """

    def __init__(self, units: Iterable[str] = " 'abcdefghijklmnopqrstuvwxyz"):
        self.units = tuple(units)
        self.ids = {unit: i for i, unit in enumerate(self.units, start=1)}

    @property
    def size(self) -> int:
        """Number of ids, blank and start/end included."""
        return len(self.units) + 2

    def split(self, text: str) -> list[str]:
        """The units that the text consists of."""
        return list(text)

    def unknown(self, text: str) -> list[str]:
        """What of the text no id stands for."""
        return sorted(set(self.split(text)) - self.ids.keys())

    def encode(self, text: str) -> list[int]:
        if unknown := self.unknown(text):
            raise ValueError(f"text {text!r}: no token for {', '.join(map(repr, unknown))}; normalise_text may help")
        return [self.ids[unit] for unit in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < self.size]:
            raise ValueError(f"token ids {wrong}: outside 0 to {self.size - 1}")
        return "".join(self.units[i - 1] for i in ids if 0 < i < self.size - 1)


class SentencePieceTokenizer(Tokenizer):
    """Auto-AVSR's units: a SentencePiece model splits the text, a list with lines "unit id" numbers the pieces.

    The model was trained on upper-case text: texts are upper-cased on the way in, lower-cased on the way out.
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
            raise ValueError(f"{model}: no SentencePiece model") from error

    def split(self, text: str) -> list[str]:
        return self.model.encode(text.upper(), out_type=str)

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).replace("▁", " ").strip().lower()

    @staticmethod
    def of_folder(folder: str | Path) -> "SentencePieceTokenizer":
        """The one model of a folder, <name>.model, with <name>_units.txt beside it."""
        models = sorted(Path(folder).glob("*.model"))
        if len(models) != 1:
            raise ValueError(
                f"{folder}: {len(models)} files *.model, expected one, as unigram5000.model, and its list, "
                "unigram5000_units.txt"
            )
        return SentencePieceTokenizer(models[0], models[0].with_name(f"{models[0].stem}_units.txt"))


def train_units(texts: Iterable[str], count: int) -> tuple[bytes, str]:
    """A SentencePiece unigram model of so many pieces, and the list that numbers them, as Auto-AVSR trains its own: on texts in
    upper case, <unk> the first unit, the rest sorted. The same texts make the same bytes."""
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
        told = " ".join(str(error).partition("] ")[2].split()) or error  # behind the library's source line
        raise ValueError(f"{count} units of {len(texts)} transcripts: {told}") from None
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = sorted(
        pieces.id_to_piece(i) for i in range(pieces.vocab_size()) if not (pieces.is_control(i) or pieces.is_unknown(i))
    )
    return model.getvalue(), "".join(f"{name} {i}\n" for i, name in enumerate(["<unk>", *names], start=1))


BLANK = 0
