"""Intervals of scores: how far a probe's score on these test rows may lie from that on all rows like them.

They are of the probe as it was fitted. Rows of one group, such as those of one layout, count as dependent: what each
row adds to a score, to first order, is summed over groups, and the sums are what varies (for areas Obuchowski 1997, who
generalises DeLong et al. 1988).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, stats

from chisel.probing.decoding import Label

LEVEL = 0.95


def score_intervals(
    out: Float[np.ndarray, "n columns"],
    truth: Float[np.ndarray, "n columns"],
    labels: tuple[Label, ...],
    group: Int[np.ndarray, " n"],
    level: float = LEVEL,
) -> Float[np.ndarray, "labels 2"]:
    """The lower and the upper limit of every label's score; NaN where there is no score.

    Args:
        out, truth: readouts and labels of the test rows.
        group: rows that belong together.
    """
    found = np.full((len(labels), 2), np.nan)
    out, truth = np.asarray(out, np.float64), np.asarray(truth, np.float64)
    for i, label in enumerate(labels):
        columns = slice(label.first, label.end)
        rows = ~np.isnan(truth[:, columns]).any(1)
        ours, theirs = out[rows, columns], truth[rows, columns]
        if len(ours) < 2 or not np.isfinite(ours).all():
            continue
        own = np.unique(group[rows], return_inverse=True)[1]
        if label.kind == "categorical":
            found[i] = _of_f1(ours, theirs, own, level)
        else:
            of = _of_auc if label.kind == "binary" else _of_r2
            found[i] = of(ours[:, 0], theirs[:, 0], own, level)
    return found


def accuracies(
    out: Float[np.ndarray, "n columns"], truth: Float[np.ndarray, "n columns"], labels: tuple[Label, ...]
) -> Float[np.ndarray, " labels"]:
    """The share of rows of which the probe names the right class, by the highest readout. NaN of numbers."""
    found = np.full(len(labels), np.nan)
    for i, label in enumerate(labels):
        ours, theirs = out[:, label.first : label.end], truth[:, label.first : label.end]
        rows = ~np.isnan(theirs).any(1) & ~np.isnan(ours).any(1)
        if label.kind == "binary" and rows.any():
            found[i] = np.mean((ours[rows, 0] > 0) == (theirs[rows, 0] > 0.5))
        elif label.kind == "categorical" and rows.any():
            found[i] = np.mean(ours[rows].argmax(1) == theirs[rows].argmax(1))
    return found


def _variance(adds: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"]) -> float:
    """Of a sum of what rows add, which is 0, where those of a group vary together."""
    sums = np.bincount(group, adds)
    return len(sums) / max(len(sums) - 1, 1) * float(np.sum(sums**2))


def _of_auc(
    out: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], level: float
) -> tuple[float, float]:
    """Score interval of an area (Newcombe 2006, method 5), with as many rows fewer as groups make its variance larger.

    Unlike an interval around the area it stays within 0 and 1, and is not empty where all are told right.
    """
    positive: Bool[np.ndarray, " n"] = y > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return np.nan, np.nan
    everywhere = stats.rankdata(out)
    # Negatives below each positive, and positives above each negative; ties count half.
    below = everywhere[positive] - stats.rankdata(out[positive])
    above = m - (everywhere[~positive] - stats.rankdata(out[~positive]))
    area = float(below.sum() / (m * n))
    adds = np.empty(len(y))
    adds[positive], adds[~positive] = (below / n - area) / m, (above / m - area) / n
    alone = _variance(adds, np.arange(len(y)))
    each = len(y) / (group.max() + 1)
    larger = max(_variance(adds, group) / alone, 1.0) if alone > 0 else each
    m_, n_ = max(m / larger, 1.0), max(n / larger, 1.0)
    far = stats.norm.ppf((1 + level) / 2)

    def lower(area: float) -> float:
        def left(a: float) -> float:
            more = ((m_ + n_) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
            return area - a - far * np.sqrt(a * (1 - a) * (1 + more) / (m_ * n_))

        return float(optimize.brentq(left, 0.0, area - 1e-12)) if area > 1e-9 else 0.0

    return lower(area), 1 - lower(1 - area)


def _of_r2(
    out: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], level: float
) -> tuple[float, float]:
    """From the logarithm of 1 − R², the ratio of the squares of errors and deviations, so that it stays below 1."""
    errors, deviations = (y - out) ** 2, (y - y.mean()) ** 2
    groups = group.max() + 1
    if not deviations.sum() > 0 or not errors.sum() > 0 or groups < 2:
        return np.nan, np.nan
    adds = errors / errors.sum() - deviations / deviations.sum()
    far = stats.t.ppf((1 + level) / 2, groups - 1) * np.sqrt(_variance(adds, group))
    ratio = errors.sum() / deviations.sum()
    return float(1 - ratio * np.exp(far)), float(1 - ratio * np.exp(-far))


def _of_f1(
    out: Float[np.ndarray, "n classes"], y: Float[np.ndarray, "n classes"], group: Int[np.ndarray, " n"], level: float
) -> tuple[float, float]:
    """Wilson's interval of a share, of as many rows as would make it vary as much; of groups, where nothing varies."""
    believed = np.eye(y.shape[1])[out.argmax(1)]
    both = believed.sum(0) + y.sum(0)
    seen = both > 0
    each = 2 * (believed * y).sum(0)[seen] / both[seen]
    adds = np.mean((2 * (believed * y)[:, seen] - each * (believed + y)[:, seen]) / both[seen], 1)
    score, varies = float(each.mean()), _variance(adds, group)
    count = score * (1 - score) / varies if varies > 0 and 0 < score < 1 else float(group.max() + 1)
    return _wilson(score, count, level)


def _wilson(share: float, count: float, level: float) -> tuple[float, float]:
    far = stats.norm.ppf((1 + level) / 2) ** 2 / count
    middle = (share + far / 2) / (1 + far)
    half = np.sqrt(far * share * (1 - share) + far**2 / 4) / (1 + far)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
