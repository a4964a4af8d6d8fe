"""Shared fixtures: the parity records and seeded generators."""
import importlib.util
import os
from pathlib import Path

import pytest
import torch

PARITY_DIR = Path(os.environ.get("AVLIB_PARITY_DIR", Path(__file__).parent / "fixtures" / "parity"))
_FILL = Path(__file__).parent / "fixtures" / "parity" / "fill.py"


def parity_records(pattern: str) -> list[Path]:
    """Every record in the parity folder whose name matches, sorted; at least one, or parity would pass by absence."""
    found = sorted([*PARITY_DIR.glob(pattern), *PARITY_DIR.glob(f"reference/{pattern}")])
    if not found:
        raise FileNotFoundError(f"{PARITY_DIR}: no parity record matches {pattern}")
    return found


def load_record(path: Path) -> dict:
    """A record with float16 inputs upcast, and `weights`: official name -> tensor as the reference ran with."""
    record = torch.load(path, weights_only=True)
    record["inputs"] = {k: v.float() if torch.is_tensor(v) and v.dtype == torch.float16 else v
                        for k, v in record["inputs"].items()}
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
