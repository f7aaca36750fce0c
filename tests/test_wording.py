import pytest

from augment.report.wording import count, duration, number, share, signed, size


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (number, 41.26, "41.3"),
        (number, -0.04, "0.0"),
        (number, -1.25, "−1.2"),
        (signed, 0.7, "+0.7"),
        (signed, -0.3, "−0.3"),
        (signed, -0.04, "±0.0"),
        (signed, 0.04, "±0.0"),
        (count, 1600, "1,600"),
        (count, 9_120_000, "9.1 M"),
        (duration, 8.24, "8.2 s"),
        (duration, 59.6, "1 min 00 s"),
        (duration, 125, "2 min 05 s"),
        (duration, 3 * 3600 + 720, "3 h 12 min"),
        (size, 512, "512 B"),
        (size, 38_400, "38 kB"),
        (size, 2_007_040, "2.0 MB"),
        (size, 25.3e9, "25.3 GB"),
        (share, 0.234, "23 %"),
        (share, 0.0449, "4.5 %"),
        (share, 0.0029, "0.29 %"),
        *((form, None, "–") for form in (number, signed, count, duration, size, share)),
    ],
)
def test_numbers_read_as_people_write_them(form, value, text):
    assert form(value) == text


def test_digits():
    assert (number(41.256, 2), signed(-1.844, 2)) == ("41.26", "−1.84")
