"""Whether chisel's numbers are those of the packages of the methods' authors: `python benchmarks/agreement.py`.

It needs both beside chisel: `pip install concept-erasure rliable`. They bring torch and arch, which chisel's own tests
do without: there the same formulas are held to NumPy and SciPy.
"""

from typing import Any
from unittest.mock import patch

import jax.numpy as jnp
import numpy as np

from chisel.analysis.statistics import bootstrap_interval, iqm, probability_of_improvement


def erasure() -> None:
    """The example of concept-erasure's README, with and without the shrinkage that it adds by default."""
    import torch
    from concept_erasure import LeaceFitter
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    from chisel.probing.erasure import erase, leace

    x, y = make_classification(n_samples=2048, n_features=128, n_classes=2, random_state=42)
    ours = np.asarray(erase(leace(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)[:, None]), x), float)
    for shrinkage in (False, True):
        fitter = LeaceFitter(128, 1, dtype=torch.float64, shrinkage=shrinkage)
        theirs = fitter.update(torch.from_numpy(x), torch.from_numpy(y)).eraser(torch.from_numpy(x)).numpy()
        print(f"LEACE, shrinkage {shrinkage}: largest difference {np.abs(ours - theirs).max():.1e}")
    before, after = (LogisticRegression(max_iter=1000, tol=1e-10).fit(z, y).coef_ for z in (x, ours))
    print(f"a logistic probe's largest weight: before {np.abs(before).max():.2f}, after {np.abs(after).max():.1e}")


def erasure_of_classes() -> None:
    """One column per class, columns of very different sizes, and pixels that never vary: scikit-learn's data sets."""
    import torch
    from concept_erasure import LeaceFitter
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    from chisel.probing.erasure import erase, leace

    for name, load in (("digits", load_digits), ("wine", load_wine), ("breast cancer", load_breast_cancer)):
        x, classes = load(return_X_y=True)
        z = np.eye(classes.max() + 1)[classes]
        ours = np.asarray(erase(leace(jnp.asarray(x, jnp.float32), jnp.asarray(z, jnp.float32)), x), float)
        fitter = LeaceFitter(x.shape[1], z.shape[1], dtype=torch.float64, shrinkage=False)
        theirs = fitter.update(torch.from_numpy(x), torch.from_numpy(z)).eraser(torch.from_numpy(x)).numpy()
        scale = np.where(x.std(0) > 0, x.std(0), 1.0)
        far, moved = (np.abs(y / scale).max() for y in (ours - theirs, theirs - x))
        print(f"LEACE of {name}, {z.shape[1]} classes: {far:.1e} standard deviations apart, of {moved:.1f} moved")


def statistics() -> None:
    """Interquartile means, probabilities of improvement, and their intervals."""
    import arch.bootstrap as arch_bs
    from rliable import library, metrics

    ours, theirs = (np.random.default_rng(seed).normal(seed, 1, (10, 6)) for seed in (0, 1))
    print(f"IQM: {abs(float(iqm(ours)) - metrics.aggregate_iqm(ours)):.1e} apart")
    apart = probability_of_improvement(ours, theirs) - float(np.mean(metrics.probability_of_improvement(ours, theirs)))
    print(f"probability of improvement: {abs(apart):.1e} apart")
    first = arch_bs.IIDBootstrap.__init__

    def begin(self: Any, *data: Any, random_state: object = None, **named: Any) -> None:
        """rliable 1.2.0 calls by an older name what arch has called `seed` since 6."""
        first(self, *data, seed=0, **named)

    with patch.object(arch_bs.IIDBootstrap, "__init__", begin):
        found = library.get_interval_estimates({"o": ours}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=20_000)
    limits = found[1]["o"][:, 0]
    own = bootstrap_interval(ours, iqm, draws=20_000)
    far = max(abs(float(own.low) - limits[0]), abs(float(own.high) - limits[1]))
    print(f"interval of an IQM, 20,000 draws each: limits {far / (limits[1] - limits[0]):.1%} of its width apart")


if __name__ == "__main__":
    erasure()
    erasure_of_classes()
    statistics()
