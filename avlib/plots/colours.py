"""Colours of the figures, and the looks of lines that share an axis."""

# The high-contrast scheme of Paul Tol (Colour Schemes, SRON/EPS/TN/09-002, 2021): any colour vision, and grey prints,
# tell these apart.
BLUE, RED, YELLOW, BLACK = "#004488", "#BB5566", "#DDAA33", "#000000"
COLOURS, DASHES = (BLUE, RED, YELLOW, BLACK), ("-", "--", "-.", ":")
# Lines of one axis, in order: the first four differ in colour and dashes, all sixteen in one of them.
LINES = [{"color": COLOURS[n % 4], "linestyle": DASHES[(n + n // 4) % 4]} for n in range(16)]
