"""The lip video of a corpus follows the corpus's settings; faces stand beside the first motion."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from avlib.corpus.pictures import faces_beside, lip_video
from avlib.render.camera import Camera


def square() -> SimpleNamespace:
    """A corpus whose only face is a square."""
    corners = torch.arange(4)
    return SimpleNamespace(
        subjects={"train": ["one"]},
        templates={"one": torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) - 0.47},
        fps=25,
        regions={"lip": corners, "mouth": corners},
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
        albedo=torch.ones(4),
        camera=Camera(1.0, 16),
        soft_silhouettes=True,
    )


def test_lip_video_has_soft_silhouettes_unless_corpus_or_caller_turns_them_off():
    corpus = square()

    def edge_gradient(**options) -> float:
        """The largest gradient of the image's brightness with respect to the position of the square's edges."""
        vertices = corpus.templates["one"][None, None].clone().requires_grad_()
        lip_video(corpus, **options)(vertices, torch.tensor([1]))[0].sum().backward()
        return float(vertices.grad[..., :2].abs().max())

    assert edge_gradient() > 1 > 1e-3 > edge_gradient(soft_silhouettes=False)
    corpus.soft_silhouettes = False
    assert edge_gradient() < 1e-3


@pytest.mark.parametrize("fps, frames", [(None, 25), (25, 30)])
def test_lip_video_takes_the_rate_of_the_corpus_or_of_the_caller(fps, frames):
    corpus = square()
    corpus.fps = 30
    motion = corpus.templates["one"].expand(1, 30, 4, 3)
    _, lengths = lip_video(corpus, fps=fps)(motion, torch.tensor([30]))
    assert lengths.tolist() == [frames]


@pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is None, reason="PyTorch3D is not installed")
def test_the_caller_chooses_the_rasteriser():
    """Pictures and gradients are the same."""
    corpus, results = square(), {}
    for backend in ("avlib", "pytorch3d"):
        # no edge lies on a pixel's centre, which belongs to neither face for PyTorch3D
        vertices = (torch.tensor([0.97, 0.91, 1]) * corpus.templates["one"])[None, None].requires_grad_()
        video, _ = lip_video(corpus, backend=backend)(vertices, torch.tensor([1]))
        video.square().sum().backward()
        results[backend] = (video.detach(), vertices.grad)
    assert results["avlib"][0].max() > 0.5 and results["avlib"][1].abs().max() > 0.1
    torch.testing.assert_close(results["pytorch3d"], results["avlib"], atol=1e-4, rtol=1e-4)


def test_a_crop_that_cuts_lips_at_rest_is_an_error():
    corpus = square()
    corpus.camera = Camera(1.0, 16, rows=(0, 8))
    with pytest.raises(ValueError, match="lips of one: spans rows"):
        lip_video(corpus)


def test_each_row_of_faces_begins_with_the_first_motion():
    corpus = square()
    rest = corpus.templates["one"]
    motions = {"scan": rest.repeat(4, 1, 1), "a": 0.8 * rest.repeat(3, 1, 1), "b": 0.5 * rest.repeat(5, 1, 1)}
    above, below = (faces_beside(corpus, {"scan": motions["scan"][:3], name: motions[name][:3]}, 32) for name in "ab")
    assert above.shape == (3, 32, 64) and not torch.equal(above, below)
    assert torch.equal(faces_beside(corpus, motions, 32, [["a"], ["b"]]), torch.cat([above, below], 1))
    assert torch.equal(faces_beside(corpus, motions, 32), torch.cat([above, below[..., 32:]], 2)), "one row"
