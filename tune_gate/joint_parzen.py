"""A Parzen estimator of all axes of the unit cube together, and the TPE draw that rests on two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

#: Points drawn from the estimator of the good trials.
CANDIDATES = 12

#: Bandwidth at one point; a fifth of the range, as in Optuna's multivariate TPE.
SCALE = 0.2


@dataclass(frozen=True, slots=True)
class JointParzen:
    """A density over the cube: kernels at `points`, of shape (n, axes), and a uniform one, all alike heavy.

    A kernel is a product over the axes. On a number's it is a normal distribution, reflected at both ends so that no
    mass leaves the cube (Silverman, "Density Estimation", 1986, 2.10); on that of a choice of k values, k / n of its
    mass is spread evenly. Where a point is NaN (the parameter did not exist there) it says nothing: uniform.
    """

    points: Matrix
    choices: tuple[int, ...]  # how many values an axis has; 0: a number

    @property
    def bandwidth(self) -> float:
        """Of a number's axis, by Scott's rule: SCALE * n ** (-1 / (axes + 4))."""
        count, axes = self.points.shape
        return SCALE * float(max(count, 1) ** (-1.0 / (axes + 4)))

    def draw(self, rng: np.random.Generator, count: int) -> Matrix:
        """Points of this density, of shape (count, axes)."""
        kernels = rng.integers(len(self.points) + 1, size=count)
        drawn = np.empty((count, len(self.choices)))
        centres = np.vstack([self.points, np.full(len(self.choices), np.nan)])[kernels]
        for axis, values in enumerate(self.choices):
            centre = centres[:, axis]
            if values:
                uniform = np.isnan(centre) | (rng.random(count) < self._spread(values))
                drawn[:, axis] = np.where(uniform, rng.integers(values, size=count), centre)
            else:
                moved = _reflect(centre + self.bandwidth * rng.standard_normal(count))
                drawn[:, axis] = np.where(np.isnan(centre), rng.random(count), moved)
        return drawn

    def log_density(self, at: Matrix) -> NDArray[np.float64]:
        """The logarithm of the density at each of `at`, of shape (m, axes)."""
        kernels = np.ones((len(at), len(self.points)))
        for axis, values in enumerate(self.choices):
            kernels *= self._kernel(at[:, axis, None], self.points[None, :, axis], values)
        return np.asarray(np.log((kernels.sum(axis=1) + 1.0) / (len(self.points) + 1)))

    def _kernel(self, at: Matrix, centre: Matrix, values: int) -> Matrix:
        """Relative to the uniform density."""
        if values:
            spread = self._spread(values)
            density = spread + (1 - spread) * values * (at == centre)
        else:
            width = self.bandwidth
            density = np.zeros(np.broadcast_shapes(at.shape, centre.shape))
            for image in (centre, -centre, 2.0 - centre):
                density += np.exp(-0.5 * ((at - image) / width) ** 2)
            density /= width * np.sqrt(2 * np.pi)
        return np.where(np.isnan(centre), 1.0, density)

    def _spread(self, values: int) -> float:
        return values / (len(self.points) + values)


def _reflect(values: Matrix) -> Matrix:
    """Into [0, 1], by reflection at its ends."""
    folded = np.abs(values) % 2.0
    return np.where(folded > 1.0, 2.0 - folded, folded)


def draw_promising(good: JointParzen, others: JointParzen, rng: np.random.Generator) -> Matrix:
    """CANDIDATES draws from `good`, the largest ratio of its density to that of `others` first (Bergstra et al.,
    "Algorithms for Hyper-Parameter Optimization", 2011); of shape (CANDIDATES, axes).
    """
    drawn = good.draw(rng, CANDIDATES)
    gain = good.log_density(drawn) - others.log_density(drawn)
    return np.asarray(drawn[np.argsort(-gain, kind="stable")])
