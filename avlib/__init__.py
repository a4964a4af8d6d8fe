"""Speech-driven 3D facial animation guided by an audio-visual lip-reading expert. The notebooks call these modules."""
import os

# Batches differ in length from step to step, and oneDNN compiles a kernel for each length of each convolution. Its own
# cache of 1024 forgets them before they come again: training then spends half its time compiling.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def animate(speech, **options):
    """A sound file, a text or samples at 16 kHz as an `avlib.animation.Animation`, by a finished run's trained model:
    `avlib.animate("Hello there", run="demo", subject="Kim").save("out", formats="glb,mp4")`. See `avlib.animation.animate`."""
    from .animation import animate      # here, for the models take seconds to import
    return animate(speech, **options)
