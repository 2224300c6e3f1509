"""k-reciprocal re-ranking as its equations read, on full matrices in float64, image by image.

p and g are images, N(p, k) the k + 1 nearest ones with p itself first, and of equally near ones
the first; d is the squared distance over the largest that p has.

    R(p, k)  = {g in N(p, k) : p in N(g, k)}
    R*(p)    = R(p, k1) and every R(q, k1/2), q in R(p, k1), of which more than 2/3 is in R(p, k1)
    V(p, g)  = exp(-d(p, g)) for g in R*(p), else 0; its sum over g is brought to 1
    U(p)     = mean of V(g) over the k2 nearest g
    J(p, g)  = 1 - sum min(U(p), U(g)) / sum max(U(p), U(g))
    final    = (1 - lambda) J + lambda d
"""

import numpy as np


def rerank(table, *, k1, k2, weight):
    """Final distances of all to all, from a table of all squared distances."""
    table = np.array(table, dtype=np.float64)
    largest = table.max(axis=1, keepdims=True)
    d = np.divide(table, largest, out=np.zeros_like(table), where=largest > 0)
    size = len(d)
    order = [sorted(range(size), key=lambda g, p=p: (g != p, table[p][g], g)) for p in range(size)]

    def reciprocal(p, k):
        return {g for g in order[p][: k + 1] if p in order[g][: k + 1]}

    V = np.zeros((size, size))
    for p in range(size):
        near = reciprocal(p, k1)
        members = set(near)
        for q in near:
            others = reciprocal(q, round(k1 / 2))
            if 3 * len(others & near) > 2 * len(others):
                members |= others
        for g in members:
            V[p, g] = np.exp(-d[p, g])
        V[p] /= V[p].sum()
    U = np.stack([V[order[p][:k2]].mean(axis=0) for p in range(size)])
    J = np.empty((size, size))
    for p in range(size):
        J[p] = 1 - np.minimum(U[p], U).sum(axis=1) / np.maximum(U[p], U).sum(axis=1)
    return (1 - weight) * J + weight * d
