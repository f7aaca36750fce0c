"""Numbers as people read them: few digits, real minus signs, units that fit."""

NOTHING = "–"  # where there is no number


def number(value: int | float | None, digits: int = 1) -> str:
    """41.26 → 41.3; no minus before a zero."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: int | float | None, digits: int = 1) -> str:
    """+0.7, −0.3, ±0.0 where nothing is left after rounding."""
    if value is None:
        return NOTHING
    text = number(value, digits)
    return f"±{text}" if float(text.replace("−", "-")) == 0 else text if value < 0 else f"+{text}"


def count(value: int | float | None) -> str:
    """Things that are counted: 1,600; 9.1 M from a million on."""
    if value is None:
        return NOTHING
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def duration(seconds: int | float | None) -> str:
    """8.2 s, 48 s, 2 min 05 s, 3 h 12 min."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(num_bytes: int | float | None) -> str:
    """512 B, 38 kB, 4.1 MB, 2.0 GB."""
    if num_bytes is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB" if num_bytes >= 1e3 else f"{num_bytes:.0f} B"


def share(value: int | float | None) -> str:
    """A part of one as a percentage, with more digits where it is small: 23 %, 4.5 %, 0.29 %."""
    if value is None:
        return NOTHING
    percent = 100 * value
    return f"{percent:.{0 if percent >= 9.95 else 1 if percent >= 0.995 else 2}f} %"
