from dpsims.guard import PATIENCE, CollapseGuard

WELL = {"Diversity/z": 0.2, "Accuracy/fake": 0.8, "Accuracy/fooled": 0.1, "Range/outside": 0.02}


def warnings(rows: list[dict[str, float]]) -> list[list[str]]:
    guard = CollapseGuard()
    return [guard.check(row) for row in rows]


def test_a_healthy_run_is_left_in_peace():
    assert not any(warnings([WELL] * 3 * PATIENCE))


def test_a_symptom_is_told_once_with_its_figures_and_the_remedy():
    found = warnings([WELL | {"Diversity/z": 2e-4}] * 3 * PATIENCE)
    assert [len(due) for due in found] == [0] * (PATIENCE - 1) + [1] + [0] * 2 * PATIENCE
    (text,) = found[PATIENCE - 1]
    assert "Diversity/z 0.0002" in text and "loss.diversity.weight" in text


def test_it_is_told_again_after_it_had_gone():
    won = WELL | {"Accuracy/fake": 0.999, "Accuracy/fooled": 0.001}
    found = warnings([won] * PATIENCE + [WELL] + [won] * PATIENCE)
    assert sum(len(due) for due in found) == 2 and "optim.lr_D" in found[-1][0]


def test_a_symptom_needs_all_its_figures():
    assert not any(warnings([WELL | {"Accuracy/fake": 1.0}] * 2 * PATIENCE))  # D errs on classes: it has not won
    assert not any(warnings([{"Loss/D/real": 1.0}] * 2 * PATIENCE))


def test_out_of_range():
    found = warnings([WELL | {"Range/outside": 0.4}] * PATIENCE)
    assert "[-1, 1]" in found[-1][0]
