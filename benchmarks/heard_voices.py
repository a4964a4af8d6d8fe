"""How well a run's speech encoder understands each subject of the validation and test splits.

    python benchmarks/heard_voices.py [--run demo]

A linear classifier of phonemes is fitted to the encoder's features of the training scans' speech, 50 a second. The
table has the share of features of each other subject whose phoneme it tells. The corpus needs phoneme times.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avlib.core.opening import open_run
from avlib.core.rates import FEATURES_PER_SECOND, SPEECH_HZ
from avlib.corpus.corpus import Corpus
from avlib.corpus.prepare import prepare_corpus
from avlib.corpus.utterance import Utterance
from avlib.speech.sound import normalise
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training.clip_batches import IGNORED, phoneme_ids, phoneme_labels
from avlib.training.speech_encoder import load_speech

SAMPLES_PER_FEATURE = SPEECH_HZ // FEATURES_PER_SECOND
DECAY = 1e-4  # of the classifier's weights


@torch.no_grad()
def features_and_phonemes(
    encoder: SpeechEncoder, corpus: Corpus, utterance: Utterance, language: str
) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of an utterance, where the phoneme is known."""
    speech = torch.as_tensor(corpus.speech(utterance))
    samples = speech[None, : len(speech) // SAMPLES_PER_FEATURE * SAMPLES_PER_FEATURE]
    length = torch.tensor([samples.shape[1]])
    extracted, lengths = encoder.extract(normalise(samples, length), length)
    features = encoder.contextualise(extracted, lengths, lengths, FEATURES_PER_SECOND)[0, :, 0]
    labels = phoneme_labels(utterance, FEATURES_PER_SECOND, len(features), language)
    known = labels != IGNORED
    return features[known], labels[known]


def classifier(features: Tensor, labels: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """Logistic regression on standardised features."""
    mean, deviation = features.mean(0), features.std(0)
    weights = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(weights.weight)
    optimizer = torch.optim.LBFGS(weights.parameters(), max_iter=80)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(weights((features - mean) / deviation), labels) + DECAY * weights.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return lambda x: weights((x - mean) / deviation).argmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo")
    run = open_run(parser.parse_args().run)
    language = run.config.corpus.language
    corpus, encoder = prepare_corpus(run), load_speech(run).cpu().eval()
    known = [features_and_phonemes(encoder, corpus, u, language) for u in corpus.utterances("train")]
    tell = classifier(*map(torch.cat, zip(*known)), classes=len(phoneme_ids(language)))
    print("| split | subject | phonemes told (%) |\n|---|---|---|")
    for split in ("validation", "test"):
        right = defaultdict(list)
        for utterance in corpus.utterances(split):
            features, labels = features_and_phonemes(encoder, corpus, utterance, language)
            right[utterance.subject].append((tell(features) == labels).float())
        for subject, hits in right.items():
            print(f"| {split} | {subject} | {100 * float(torch.cat(hits).mean()):.0f} |")


if __name__ == "__main__":
    main()
