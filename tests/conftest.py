"""Shared fixtures: the parity records and seeded generators."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
import soundfile
import torch

from avlib.corpus.embedded import facekit_checkout
from tests import chain
from tests.corpus.embedded.checkout import write_checkout

# sizes of animators and of their speech encoder in tests
V, STYLES, WIDTH = 7, 3, 16
TINY = dict(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)
OWN_RECORDS = Path(__file__).parent / "fixtures" / "parity"
PARITY_DIR = Path(os.environ.get("AVLIB_PARITY_DIR", OWN_RECORDS))
_FILL = OWN_RECORDS / "fill.py"


def inputs(generator, *lengths: int) -> SimpleNamespace:
    batch = len(lengths)
    return SimpleNamespace(
        samples=torch.randn(batch, max(lengths), generator=generator),
        lengths=torch.tensor(lengths),
        template=torch.randn(batch, V, 3, generator=generator),
        style=torch.eye(STYLES)[torch.arange(batch) % STYLES],
    )


def write_units(folder: Path, count: int = 0, *further: str):
    """Writes a small SentencePiece model under the published names, and the list that numbers its pieces.

    As in Auto-AVSR, the list numbers them otherwise than the model does. It is filled up to `count` units. further:
    lines of text that the model learns from as well.
    """
    lines = ["YOU MUST GO NOW", "IT IS JUST ME", "WE WERE AWAY A YEAR AGO", "DON'T BUY FIVE BIG MAPS", *further]
    text = folder / "text.txt"
    text.write_text("\n".join(lines * 5))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "unigram5000"), vocab_size=50, hard_vocab_limit=False, minloglevel=2
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "unigram5000.model"))
    names = sorted({model.id_to_piece(i) for i in range(model.vocab_size())} - {"<s>", "</s>"})
    names += [f"unit{i}" for i in range(len(names), count)]
    (folder / "unigram5000_units.txt").write_text("".join(f"{p} {i}\n" for i, p in enumerate(names, start=1)))


# use the fixture `smoke`
ONE_RUN = ("tests/cli/test_notebooks.py", "tests/cli/test_readme.py", "tests/cli/test_counted_work.py")


@pytest.hookimpl(tryfirst=True)  # before pytest applies -m "not slow"
def pytest_collection_modifyitems(items):
    """Marks every test that needs a finished run of the notebooks as slow. Slow tests last longest and begin first."""
    for item in items:
        if "smoke" in getattr(item, "fixturenames", ()):
            assert item.location[0] in ONE_RUN, f"{item.location[0]}: ONE_RUN has to name it"
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """One process takes all tests of a file, whose fixtures they share, and of the files that share a finished run."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return ONE_RUN[0] if file in ONE_RUN else file

    return WholeFiles(config, log)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """A folder in which the run "one" is finished, with a recording animated. Its name is one that users have and that
    shells, web pages and file formats may stumble over; the locale knows ASCII alone."""
    folder = tmp_path_factory.mktemp("smoke") / '-it\'s a "place" für $alle & <b>'
    folder.mkdir()
    (folder / "mine.py").write_text(chain.OWN)
    tone = 0.3 * torch.sin(torch.arange(2 * 44100) * 0.03)[:, None].expand(-1, 2)
    soundfile.write(folder / "own.wav", tone.numpy(), 44100)
    (folder / "work").mkdir()
    counted = {"PYTHONPATH": str(chain.ROOT / "tests" / "counted_work"), "AVLIB_COUNTED_WORK": str(folder / "work")}
    own = ("--speech", str(folder / "own.wav"))
    done = chain.avlib(folder, "--preset", "smoke", "--run", "one", *own, LC_ALL="C", **counted)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def parity_records(pattern: str) -> list[Path]:
    """Every record in the parity folder whose name matches, sorted. The kit's own folder has records of every kind, or
    parity would pass by absence; another folder may lack some, and pytest then reports those tests as skipped."""
    if not PARITY_DIR.is_dir() or not any([*PARITY_DIR.rglob("*.pt"), *PARITY_DIR.rglob("*.json")]):
        raise FileNotFoundError(f"{PARITY_DIR}: no folder of parity records")
    found = sorted([*PARITY_DIR.glob(pattern), *PARITY_DIR.glob(f"reference/{pattern}")])
    if not found and PARITY_DIR == OWN_RECORDS:
        raise FileNotFoundError(f"{PARITY_DIR}: no parity record matches {pattern}")
    return found


def load_record(path: Path) -> dict:
    """A record with float16 inputs upcast, and `weights`: official name -> tensor as the reference ran with."""
    record = torch.load(path, weights_only=True)
    record["inputs"] = {
        k: v.float() if torch.is_tensor(v) and v.dtype == torch.float16 else v for k, v in record["inputs"].items()
    }
    if "tensors" in record:
        spec = importlib.util.spec_from_file_location("fill", _FILL)
        fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fill)
        record["weights"] = fill.state_dict(record)
    return record


def assert_close_to_record(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-4):
    """Largest deviation at most `tolerance` of the record's largest magnitude."""
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, record has {tuple(want.shape)}"
    deviation = (got.detach() - want).abs().max() / want.abs().max().clamp_min(1e-12)
    assert deviation <= tolerance, f"deviates by {deviation:.2e} of the record's largest magnitude"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with the embedded rig in the layout of an ICT-FaceKit checkout, which is read as one meanwhile."""
    folder = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facekit_checkout, "PARTS", write_checkout(folder / "FaceXModel"))
        yield folder
