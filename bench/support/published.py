"""The arithmetic of support/published.ts on numpy: `published.py FOLDER p m keep per_step t runs`, with H, G and W in f64
in the folder. Prints JSON: seconds of every run, and the rows that are kept."""
import json
import sys
import time

import numpy as np

folder = sys.argv[1]
p, m, keep, per_step, t, runs = map(int, sys.argv[2:])
H, G, W0 = (np.fromfile(f"{folder}/{name}").reshape(p, -1) for name in ("H", "G", "W"))


def cheapest(T, W, out, count):
    costs = np.where(out, np.inf, (W * W).sum(axis=1) / (out + np.diag(T)) / 2)
    return np.argsort(costs, kind="stable")[:count]


def remove(T, W, rows, out):
    V = T[:, rows] @ np.linalg.inv(T[np.ix_(rows, rows)])
    W -= V @ W[rows]
    W[rows] = 0
    T -= V @ T[rows]
    T[rows] = 0
    T[:, rows] = 0
    out[rows] = True


def refit(kept):
    W = np.zeros((p, m))
    W[kept] = np.linalg.inv(H[np.ix_(kept, kept)]) @ G[kept]
    return W


def greedy():
    T, W, out = np.linalg.inv(H), W0.copy(), np.zeros(p, bool)
    steps = max(1, (p - keep) // per_step)
    for step in range(steps):
        remove(T, W, cheapest(T, W, out, (p - keep) // steps + (step < (p - keep) % steps)), out)
    kept = np.flatnonzero(~out)
    return kept, refit(kept)


def exchange(kept, W):
    W, out = W.copy(), np.ones(p, bool)
    out[kept] = False
    T = np.zeros((p, p))
    T[np.ix_(kept, kept)] = np.linalg.inv(H[np.ix_(kept, kept)])
    remove(T, W, cheapest(T, W, out, t), out)
    inside = np.flatnonzero(~out)
    inv = T[np.ix_(inside, inside)]
    rest = G - H[:, inside] @ (inv @ G[inside])
    variance = np.diag(H) - (H[inside] * (inv @ H[inside])).sum(axis=0)
    gains = np.where(out, (rest * rest).sum(axis=1) / np.where(out, variance, 1) / 2, -np.inf)
    after = np.sort(np.concatenate([inside, np.argsort(-gains, kind="stable")[:t]]))
    return after, refit(after)


def timed(run):
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return seconds, result


greedy_seconds, (kept, W) = timed(greedy)
exchange_seconds, (after, _) = timed(lambda: exchange(kept, W))
print(json.dumps({
    "numpy": np.__version__,
    "greedy": {"seconds": greedy_seconds, "kept": kept.tolist()},
    "exchange": {"seconds": exchange_seconds, "kept": after.tolist()},
}))
