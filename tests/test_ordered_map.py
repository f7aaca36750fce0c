import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from augment.ordered_map import in_background, ordered_map, thread_pool


def test_ordered_map_keeps_order_and_its_bound():
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    with ThreadPoolExecutor(4) as pool:
        results = ordered_map(pool, lambda i: time.sleep(0.01) or i * i, items(), ahead=3)
        for expected in range(20):
            assert next(results) == expected**2 and len(taken) <= expected + 3


def test_in_background_keeps_order_its_bound_and_errors():
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i
        raise KeyError("the end")

    results = in_background(items(), ahead=3)
    assert next(results) == 0
    time.sleep(0.3)
    assert taken == [0, 1, 2, 3, 4]  # one used, three waiting, one in hand
    with pytest.raises(KeyError, match="the end"):
        for expected, result in enumerate(results, start=1):
            assert result == expected
    assert expected == 19

    threads = threading.active_count()
    results = in_background(iter(range(100)), ahead=2)
    next(results)
    assert threading.active_count() == threads + 1
    results.close()
    assert threading.active_count() == threads


def test_a_pool_that_is_left_early_drops_what_waits():
    begun, free = [], threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number > 0:
            free.wait()

    with pytest.raises(KeyboardInterrupt), thread_pool(2) as pool:
        results = ordered_map(pool, work, range(100), ahead=50)
        next(results)
        threading.Timer(1.0, free.set).start()
        raise KeyboardInterrupt
    assert len(begun) <= 3
