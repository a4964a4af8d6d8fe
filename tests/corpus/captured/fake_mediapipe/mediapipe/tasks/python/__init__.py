from typing import NamedTuple

from . import vision as vision


class BaseOptions(NamedTuple):
    model_asset_path: str
