"""The renderer against the released one's images and gradients."""
import pytest
from conftest import assert_close_to_record, load_record, parity_records

from avlib.render import Camera, Lights, Renderer


@pytest.mark.parametrize("path", parity_records("renderer*.pt"), ids=lambda path: path.stem)
def test_renderer_matches_released_code(path):
    """Image within 1e-4 but for 0.5 % of the pixels, gradient within 1e-3, of the record's largest magnitudes."""
    record = load_record(path)
    config, inputs, outputs = record["config"], record["inputs"], record["outputs"]
    camera = Camera(config["camera_scale"], config["image_size"], config["crop_rows"], config["crop_columns"])
    lights = Lights(config["light_directions"], config["light_intensity"])
    vertices = inputs["vertices"].requires_grad_()
    image = Renderer(inputs["faces"], camera, lights, config["albedo"])(vertices)
    deviates = (image.detach() - outputs["image"]).abs() > 1e-4 * outputs["image"].abs().max()
    assert deviates.float().mean() <= 0.005
    (image * inputs["weight"]).sum().backward()
    assert_close_to_record(vertices.grad, outputs["gradient"], 1e-3)
    assert vertices.grad.norm() > 100 * outputs["published_gradient_norm"]
