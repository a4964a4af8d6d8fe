"""Speech-driven 3D facial animation guided by an audio-visual lip-reading expert. The notebooks call these modules."""
import os

# Batches differ in length from step to step, and oneDNN compiles a kernel for each length of each convolution. Its own
# cache of 1024 forgets them before they come again: training then spends half its time compiling.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
