"""Speech-driven 3D facial animation guided by an audio-visual lip-reading expert. The notebooks call these modules."""
