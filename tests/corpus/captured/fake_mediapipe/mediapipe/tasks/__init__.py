from .python import BaseOptions as BaseOptions
from .python import vision as vision
