"""What follows from the class counts alone. counts: [C] training images per class."""

from torch import Tensor


def profile_counts(head: int, classes: int, imbalance: float, profile: str = "exp") -> list[int]:
    """[C] images per class, falling from `head` to head / imbalance.

    exp: head * (1 / imbalance) ** (c / (C - 1)), rounded down (Cao et al. 2019); step: the second half of the classes
    has the smallest count. Raises ValueError where a class would be left without an image.
    """
    rarest = 1 / imbalance

    def down(count: float) -> int:
        return int(count + 1e-9)  # 49 * (1 / 49) is a little less than 1

    if profile == "exp":
        counts = [down(head * rarest ** (c / max(1, classes - 1))) for c in range(classes)]
    elif profile == "step":
        counts = [head] * (classes // 2) + [down(head * rarest)] * (classes - classes // 2)
    else:
        raise ValueError(f"profile {profile!r}: exp or step")
    if min(counts) < 1:
        raise ValueError(f"imbalance {imbalance:g} leaves a class of {head} images without any: at most {head}")
    return counts


def ldam_margins(counts: Tensor, max_margin: float = 0.5) -> Tensor:
    """[C] margins proportional to n^(-1/4), the largest being max_margin (Cao et al. 2019, eq. 13)."""
    margins = counts.double() ** -0.25
    return (margins * (max_margin / margins.max())).float()


def effective_number_weights(counts: Tensor, beta: float = 0.9999) -> Tensor:
    """[C] loss weights (1 - beta) / (1 - beta^n), scaled to a mean of 1 (Cui et al. 2019, eq. 4)."""
    weights = (1 - beta) / (1 - beta ** counts.double())
    return (weights / weights.mean()).float()


def log_prior(counts: Tensor) -> Tensor:
    """[C] logarithm of each class's share of the training images."""
    return (counts.double() / counts.double().sum()).log().float()


def tail_temperatures(counts: Tensor, spread: float = 0.05) -> Tensor:
    """[C] softmax temperatures, 1 for the largest class and lower for rarer ones, as RIDE's published code has them.

    b_c = spread * C * n_c / N + 1 - spread, divided by the largest. (The paper subtracts: alpha (b_c + 1 - max b).)
    """
    counts = counts.double()
    heat = spread * len(counts) * counts / counts.sum() + 1 - spread
    return (heat / heat.max()).float()
