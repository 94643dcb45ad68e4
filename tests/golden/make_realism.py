"""Writes realism.json: Fréchet and kernel distances of small sets of vectors, by numpy and scipy.

    python3 make_realism.py > realism.json

Made with numpy 2.4 and scipy 1.17. The Fréchet distance is computed as published, from covariance matrices and the square root of
their product. That root is badly conditioned where a covariance is singular, as with fewer rows than channels; there mpmath computes
the root's trace with 60 digits, from the eigenvalues of C_a^½ · C_b · C_a^½.
"""

import json
import sys

import mpmath
import numpy as np
from scipy import linalg


def frechet(a, b):
    difference = a.mean(0) - b.mean(0)
    c_a, c_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    if min(np.linalg.matrix_rank(c_a), np.linalg.matrix_rank(c_b)) == a.shape[1]:
        root_trace = np.trace(linalg.sqrtm(c_a @ c_b)).real
    else:
        mpmath.mp.dps = 60
        exact = []
        for rows in (a, b):
            m = mpmath.matrix(rows.tolist())
            mean = [mpmath.fsum(m[i, k] for i in range(m.rows)) / m.rows for k in range(m.cols)]
            centred = mpmath.matrix(m.rows, m.cols)
            for i in range(m.rows):
                for k in range(m.cols):
                    centred[i, k] = m[i, k] - mean[k]
            exact.append(centred.T * centred / (m.rows - 1))
        values, vectors = mpmath.eigsy(exact[0])
        roots = mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values])
        half = vectors * roots * vectors.T
        product = half * exact[1] * half
        product = (product + product.T) / 2
        root_trace = float(mpmath.fsum(mpmath.sqrt(max(v, 0)) for v in mpmath.eigsy(product, eigvals_only=True)))
    return float(difference @ difference + np.trace(c_a) + np.trace(c_b) - 2 * root_trace)


def kernel(a, b):
    def k(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    n, m = len(a), len(b)
    within_a = k(a, a)[~np.eye(n, dtype=bool)].mean()
    within_b = k(b, b)[~np.eye(m, dtype=bool)].mean()
    return float(within_a + within_b - 2 * k(a, b).mean())


def case(name, a, b):
    a, b = np.round(a, 4), np.round(b, 4)
    return {
        "name": name,
        "channels": a.shape[1],
        "a": a.ravel().tolist(),
        "b": b.ravel().tolist(),
        "frechet": frechet(a, b),
        "kernel": kernel(a, b),
    }


def main():
    rng = np.random.default_rng(11)
    mix = rng.normal(size=(6, 6))
    cases = [
        case("one channel", rng.normal(size=(30, 1)), 1.5 + 2 * rng.normal(size=(20, 1))),
        case("one distribution", rng.normal(size=(40, 5)), rng.normal(size=(40, 5))),
        case("correlated, shifted", rng.normal(size=(50, 6)) @ mix, 0.5 + rng.normal(size=(35, 6))),
        case("positive, like activations", np.maximum(rng.normal(size=(40, 8)), 0),
             np.maximum(rng.normal(size=(40, 8)) + 0.3, 0)),
        case("fewer rows than channels", rng.normal(size=(7, 12)), 0.2 + rng.normal(size=(9, 12))),
        case("few rows against many", rng.normal(size=(5, 8)), 1.2 * rng.normal(size=(40, 8))),
        case("two rows", rng.normal(size=(2, 4)), rng.normal(size=(2, 4))),
        case("a constant channel", np.c_[rng.normal(size=(20, 3)), np.ones(20)],
             np.c_[rng.normal(size=(20, 3)), np.full(20, 2.0)]),
    ]
    json.dump(cases, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
