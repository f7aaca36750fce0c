"""A comparison of arms in a line and in a sentence, which promise nothing that the seeds do not hold."""

from augment.report.gain_trained import EPOCHS, ITERATIONS
from augment.report.scores import ALPHA
from augment.report.wording import count, signed

# What the seeds say of an arm against real images alone.
GAIN, LOSS, NOISE = "gain", "loss", "noise"
FEW_SEEDS, NO_SPREAD, UNFINISHED = "few seeds", "no spread", "unfinished"
SHORT = {
    GAIN: "outside noise",
    LOSS: "outside noise",
    NOISE: "inside noise",
    FEW_SEEDS: "not settled",
    NO_SPREAD: "not settled",
}
LENGTHS = {ITERATIONS: "equal iterations", EPOCHS: "equal epochs of real data"}


def main_budget(settings: dict) -> str:
    """The budget that the result is about."""
    return ITERATIONS if ITERATIONS in settings["budgets"] else settings["budgets"][0]


def headline(report: dict) -> str:
    """The best arm's difference at every label fraction, in a line."""
    budget = main_budget(report["settings"])
    several, pieces = len(report["fractions"]) > 1, []
    for fraction in report["fractions"]:
        best = best_arm(fraction, budget)
        if best is None:
            continue
        labels = f" with {percent(fraction)} of the labels" if several or fraction["fraction"] != 1 else ""
        unit = " mIoU points" if not pieces else ""
        pieces.append(f"{signed(best['mean'])}{unit}{labels}, {SHORT[best['verdict']]}")
    if not pieces:
        return "Synthetic images: nothing to compare yet"
    at_best = " at best" if len(compared(report["fractions"][0], budget)) > 1 else ""
    return f"Synthetic images{at_best}: {'; '.join(pieces)}"


def sentence(report: dict) -> str:
    """The best arm at every label fraction: its difference, interval and p, and whether that is outside noise."""
    settings, trainings = report["settings"], report["trainings"]
    budget = main_budget(settings)
    arms = list(compared(report["fractions"][0], budget))
    start = f"at {LENGTHS[budget]} and over {seed_words(settings['seeds'])}"
    if trainings["missing"]:
        start = f"so far, after {trainings['finished']} of {trainings['planned']} trainings, {start}"
    start = start[0].upper() + start[1:]
    if not any(best_arm(fraction, budget) for fraction in report["fractions"]):
        return f"{start}, there is nothing yet to compare to real images alone."
    what = f"the best of {len(arms)} arms" if len(arms) > 1 else f"“{arms[0]}”"
    pieces = "; ".join(piece(fraction, budget) for fraction in report["fractions"])
    measure = f"mean IoU on {count(report['test_images'])} test images"
    return f"{start}, {what} against real images alone is, by {measure}: {pieces}."


def piece(fraction: dict, budget: str) -> str:
    """With 25 % of the labels (92 images), “mixed” at +1.80 points (…), a gain outside noise."""
    labels = f"with {percent(fraction)} of the labels ({count(fraction['images'])} images)"
    arms, best = compared(fraction, budget), best_arm(fraction, budget)
    if best is None:
        return f"{labels}, not known yet"
    finished = sum(arm["against_real"]["verdict"] != UNFINISHED for arm in arms.values())
    of = f", the best of the {finished} that are finished," if finished < len(arms) else ""
    name = f" “{fraction['best'][budget]}”{of}" if len(arms) > 1 else ""
    return f"{labels},{name} at {signed(best['mean'], 2)} points{evidence(best, len(arms))}, {judgement(best)}"


def evidence(best: dict, num_arms: int) -> str:
    """Interval and p, where there are enough seeds for them to mean something."""
    if best["verdict"] in (FEW_SEEDS, NO_SPREAD):
        return ""
    low, high = (signed(end, 2) for end in best["interval_95"])
    if num_arms == 1:
        return f" (95 % interval {low} to {high}; {p_text(best['p_holm'])})"
    return f" (95 % interval {low} to {high}, uncorrected; {p_text(best['p_holm'])}, corrected for the choice)"


def judgement(best: dict) -> str:
    if best["verdict"] == FEW_SEEDS:
        return f"which {seed_words(best['seeds'])} cannot tell from chance"
    if best["verdict"] == NO_SPREAD:
        return "the same for every seed but for rounding, so that there is no spread to tell chance by"
    if best["verdict"] == NOISE:
        doubt = ", although the interval by itself leaves out 0" if best["interval_leaves_out_0"] else ""
        return f"inside noise{doubt}"
    return f"a {best['verdict']} outside noise"


def compared(fraction: dict, budget: str) -> dict[str, dict]:
    """The arms that are compared to the real one."""
    return {name: arm for name, arm in fraction["budgets"][budget].items() if arm["against_real"]}


def best_arm(fraction: dict, budget: str) -> dict | None:
    """What the best arm is worth against the real one."""
    name = fraction["best"][budget]
    return name and fraction["budgets"][budget][name]["against_real"]


def percent(fraction: dict) -> str:
    return f"{100 * fraction['fraction']:g} %"


def seed_words(seeds: list[int]) -> str:
    return "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def p_text(p: float | None) -> str:
    """Three digits, and one more where they would read as the threshold."""
    if p is None:
        return "no p"
    text = f"{p:.{3 if p < 0.1 else 2}f}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.4f}" if float(text) == ALPHA else f"p = {text}"
