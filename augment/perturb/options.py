"""Checks that operations make of their options; the recipe adds which operation it was."""


def check_range(name: str, values: tuple[float, float], least: int | float, most: int | float) -> None:
    """Two numbers in order, from `least` to `most`."""
    if not least <= values[0] <= values[1] <= most:
        raise ValueError(f"{name} is two numbers in order, from {least:g} to {most:g}, not {list(values)}")


def check_bounds(name: str, value: int | float, least: int | float, most: int | float) -> None:
    """A number from `least` to `most`."""
    if not least <= value <= most:
        raise ValueError(f"{name} is from {least:g} to {most:g}, not {value:g}")
