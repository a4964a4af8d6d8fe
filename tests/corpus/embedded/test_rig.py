"""The embedded face: topology, identities, and lips that follow the phonemes."""

import pytest
import torch

from avlib.corpus.embedded.articulation import PHONEMES, SHAPES, Style, articulate, random_style, subject_style
from avlib.corpus.embedded.delivery import Delivery, random_delivery
from avlib.corpus.embedded.face import BORDER, COLUMNS, CONTACT
from avlib.corpus.embedded.rig import Rig
from avlib.speech.segment import Segment

VOWELS = ("i", "ɪ", "e", "ɛ", "æ", "ɑ", "ʌ", "ɔ", "o", "ə")
LABIALS = ("p", "b", "m")


@pytest.fixture(scope="module")
def rig():
    return Rig()


def say(*labels, each_s=0.12):
    return [Segment(label, k * each_s, (k + 1) * each_s) for k, label in enumerate(labels)]


def middle(label, around="ə", **options):
    """Weights in the middle of one sound between two others, (1, K)."""
    return articulate(say(around, label, around), 0.36, 50, **options)[9:10]


def aperture(rig, identity, weights):
    """(T,), metres: opening of the middle of the lips."""
    vertices = rig.motion(identity, weights)
    upper, lower = (vertices[:, rig.regions[f"{side}_lip_middle"], 1] for side in ("upper", "lower"))
    return (upper - lower).squeeze(1)


def chatter(count, generator, each_s=0.09):
    """A random sequence of phonemes."""
    labels = list(PHONEMES)
    return say(*(labels[k] for k in torch.randint(len(labels), (count,), generator=generator)), each_s=each_s)


def in_front(vertices, faces, points):
    """(T, P), metres: distance of the points (P,) in front of the foremost face that covers them; -inf if none does."""
    a, b, c = (vertices[:, None, faces[:, k]] for k in range(3))  # (T, 1, F, 3)
    p = vertices[:, points, None]  # (T, P, 1, 3)

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    area = cross(b - a, c - a)
    u, v = cross(b - p, c - p) / area, cross(c - p, a - p) / area
    covered = (u >= 0) & (v >= 0) & (u + v <= 1) & (area > 0)
    z = u * a[..., 2] + v * b[..., 2] + (1 - u - v) * c[..., 2]
    nearest = z.masked_fill(~covered, -torch.inf).amax(-1)
    return torch.where(covered.any(-1), p[..., 0, 2] - nearest, -torch.inf)


def covering(rig):
    """Faces of the lips and the skin around them, without the inside of the lips."""
    faces = rig.faces[(rig.faces < 15 * COLUMNS).all(1)]
    return faces[(faces >= CONTACT * COLUMNS).all(1)]


def inner(rig):
    return torch.cat(
        [torch.arange(rig.parts[name].start, rig.parts[name].stop) for name in ("upper_teeth", "lower_teeth", "tongue")]
    )


def test_the_mesh_is_consistent(rig):
    identity = rig.identity(0)
    a, b, c = identity.template[rig.faces].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    assert rig.faces.dtype == torch.long and rig.faces.min() >= 0 and rig.faces.max() < len(identity.template) >= 3000
    assert normals.norm(dim=1).min() > 1e-10  # m²
    edges = rig.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(edges.unique(dim=0)) == len(edges)  # each edge has two directions: the winding is consistent
    skin = ((rig.faces >= (BORDER + 1) * COLUMNS) & (rig.faces < rig.parts["skin"].stop - COLUMNS)).all(1)
    assert (normals[skin, 2] > 0).all()
    for part in (p for name, p in rig.parts.items() if not name.startswith("ear")):
        assert normals[((rig.faces >= part.start) & (rig.faces < part.stop)).all(1), 2].sum() > 0


def test_regions_are_disjoint_and_in_place(rig):
    template = rig.identity(3).template
    lip, upper = set(rig.regions["lip"].tolist()), set(rig.regions["upper_face"].tolist())
    assert not lip & upper and lip <= set(rig.regions["mouth"].tolist())
    assert template[rig.regions["upper_face"], 1].min() > template[rig.regions["lip"], 1].max()
    crop = (template[:, :2] - torch.tensor([0, template[rig.regions["lip"], 1].mean()])).abs().amax(1) < 0.05
    assert crop[rig.faces].all(1)[~torch.isin(rig.faces, rig.regions["mouth"]).all(1)].sum() == 0


def test_identities_repeat_and_differ(rig):
    people = [rig.identity(k) for k in range(len(rig.subjects))]
    again = Rig().identity(5)
    assert all(torch.equal(getattr(again, name), getattr(people[5], name)) for name in ("template", "shapes", "albedo"))
    for i, one in enumerate(people):
        for other in people[:i]:
            assert (one.template - other.template).norm(dim=1).mean() > 0.001
            assert (one.albedo - other.albedo).abs().mean() > 0.01
        assert one.albedo.min() >= 0 and one.albedo.max() <= 1
    stranger, same = (rig.identity(generator=torch.Generator().manual_seed(8)) for _ in range(2))
    assert torch.equal(stranger.template, same.template)
    made_up = rig.identity(5, torch.Generator().manual_seed(8))
    assert torch.equal(made_up.template, people[5].template) and not torch.equal(made_up.albedo, people[5].albedo)


def test_motion_is_linear(rig, generator):
    identity = rig.identity(generator=generator)
    one, two = torch.rand(2, 3, len(SHAPES), generator=generator)
    offset = [rig.motion(identity, w) - identity.template for w in (one, two, 0.5 * one + 2 * two)]
    torch.testing.assert_close(offset[2], 0.5 * offset[0] + 2 * offset[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("label", LABIALS)
def test_labials_close_and_vowels_open(rig, label, generator):
    for subject in (0, 4, 9):
        identity, style = rig.identity(subject), subject_style(subject)
        for vowel in VOWELS:
            weights = torch.cat([middle(label, vowel, style=style), middle(vowel, label, style=style)])
            shut, open_ = aperture(rig, identity, weights)
            assert shut.abs() < 2e-4 and open_ > 2e-3, f"{vowel}{label}{vowel}"
            ring = rig.motion(identity, weights[:1])[0, CONTACT * COLUMNS : (CONTACT + 1) * COLUMNS]
            assert (ring - ring[-torch.arange(COLUMNS)]).abs().max() < 2e-4  # along the whole line


def test_lips_never_cross(rig, generator):
    for effort in (1.0, 0.4):
        identity, delivery = rig.identity(generator=generator), random_delivery((effort, effort), generator)
        weights = articulate(chatter(80, generator), 7.2, 25, random_style(generator), delivery)
        ring = rig.motion(identity, weights)[:, CONTACT * COLUMNS : (CONTACT + 1) * COLUMNS, 1]
        half = torch.arange(1, COLUMNS // 2)
        assert (ring[:, half] - ring[:, COLUMNS - half]).min() > -2e-4


def test_more_effort_opens_the_lips_wider(rig):
    identity = rig.identity(2)
    sounds = say("h", "æ", "p", "i", "θ", "u", "m", "ɑ")
    openings = [
        aperture(rig, identity, articulate(sounds, 0.96, 25, delivery=Delivery(torch.tensor(e))))
        for e in (0.4, 0.7, 1.0)
    ]
    assert openings[0].mean() < openings[1].mean() < openings[2].mean()
    assert openings[2].mean() > 1.5 * openings[0].mean()


def test_frame_rates_agree_at_shared_times():
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    slow, fast = (articulate(say("ð", "ə", "b", "ɔɪ"), 0.48, fps, generator=g) for fps, g in zip((25, 50), draws))
    torch.testing.assert_close(slow, fast[::2])


def test_silence_gives_the_rest_pose(generator):
    for silence in ([], say("", "")):
        assert articulate(silence, 1.0, 25).abs().max() == 0
    assert articulate(say("p", "ɑ"), 3.0, 25)[-1].abs().max() < 1e-3
    mouth = torch.tensor([name not in ("blink", "brow_raise") for name in SHAPES])
    awake = articulate([], 20.0, 25, generator=generator)
    assert awake[:, mouth].abs().max() == 0 and awake[:, ~mouth].amax(0).min() > 0.1


def test_teeth_and_tongue_stay_inside(rig, generator):
    faces, points = covering(rig), inner(rig)
    for effort in (1.0, 0.5):
        identity, delivery = rig.identity(generator=generator), random_delivery((effort, effort), generator)
        weights = articulate(chatter(40, generator), 3.6, 6, random_style(generator), delivery)
        vertices = rig.motion(identity, weights)
        assert in_front(vertices, faces, points).max() < 3e-4
    vertices[:, points, 2] += 0.03
    assert in_front(vertices, faces, points).max() > 0.01  # the check detects penetration


def test_closed_lips_hide_teeth_and_tongue(rig):
    for subject in range(0, 12, 3):
        vertices = rig.motion(rig.identity(subject), torch.cat([middle("m", "ɑ"), torch.zeros(1, len(SHAPES))]))
        depth = in_front(vertices, covering(rig), inner(rig))
        assert torch.isfinite(depth).all() and depth.max() < 0


def test_sounds_look_different(rig):
    """Visible vertices differ by a millimetre for pairs of phonemes that lips, teeth and tongue distinguish."""
    identity = rig.identity(1)
    for one, other in ("θt", "tk", "ln", "sʃ", "wu", "uo", "æɛ", "ɛi", "fθ", "pm", "ɹw", "sz"):
        apart = rig.motion(identity, middle(one)) - rig.motion(identity, middle(other))
        assert apart[0, rig.regions["mouth"]].norm(dim=1).max() > (0.0003 if one + other in ("pm", "sz") else 0.001)


def test_compound_and_unknown_sounds():
    whole = articulate([Segment("ˈaɪ", 0, 0.2), Segment("t͡ʃ", 0.2, 0.3)], 0.3, 50)
    parts = articulate([*say("a", "ɪ", each_s=0.1), Segment("t", 0.2, 0.25), Segment("ʃ", 0.25, 0.3)], 0.3, 50)
    torch.testing.assert_close(whole, parts)
    with pytest.raises(ValueError, match="no articulation for the sound 'ʭ'"):
        articulate(say("a", "ʭ"), 0.24, 25)


def test_styles_differ_and_repeat():
    styles = [subject_style(k) for k in range(16)]
    assert len(set(styles)) == 16 and styles == [subject_style(k) for k in range(16)]
    assert not torch.equal(middle("u", style=styles[0]), middle("u", style=Style()))


def test_bad_input_is_named(rig):
    with pytest.raises(ValueError, match="subject"):
        rig.identity(16)
    with pytest.raises(ValueError, match=r"\(T, 17\), got \(3, 5\)"):
        rig.motion(rig.identity(0), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="frame"):
        articulate([], 0.01, 25)
