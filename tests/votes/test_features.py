"""Labels through features: spreading and clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from synthgen.votes.cluster import cluster, name, purity
from synthgen.votes.propagate import graph, induced, spread


def moons(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles that hold each other: (n, 2) and their classes."""
    rng = np.random.default_rng(seed)
    angle, kind = rng.uniform(0, np.pi, n), np.arange(n) % 2
    x = np.where(kind, 1 - np.cos(angle), np.cos(angle))
    y = np.where(kind, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], 1) + rng.normal(0, 0.05, (n, 2)), kind


def test_edges_of_spreading():
    assert spread(np.zeros((0, 3)), np.zeros(0, int), 2).shape == (0, 2)
    assert spread(np.zeros((1, 3)), np.array([1]), 2).argmax() == 1
    assert spread(np.zeros((1, 3)), np.array([-1]), 2).tolist() == [[0.5, 0.5]]
    assert spread(np.zeros((4, 3)), np.array([0, -1, -1, -1]), 1).tolist() == [[1.0]] * 4
    with pytest.raises(ValueError, match="classes 0 to 1"):
        spread(np.zeros((1, 3)), np.array([2]), 2)


def test_one_label_each_is_enough_where_classes_are_bands():
    X, kind = moons()
    labels = np.full(len(X), -1)
    labels[[0, 1]] = kind[[0, 1]]
    found = spread(X, labels, 2, alpha=0.99)
    assert (found.argmax(1) == kind).mean() > 0.98
    new, wanted = moons(60, seed=9)
    assert (induced(new, X, found).argmax(1) == wanted).mean() > 0.95


def test_spreading_is_the_closed_form_of_the_paper():
    X, kind = moons(40)
    labels = np.where(np.arange(40) < 6, kind, -1)
    W = graph(X, 5).toarray()
    assert np.array_equal(W, W.T)
    scale = np.diag(1 / np.sqrt(W.sum(1)))
    Y = np.stack([(labels == k) / (labels == k).sum() for k in range(2)], 1)
    F = np.linalg.inv(np.eye(40) - 0.9 * scale @ W @ scale) @ Y
    assert spread(X, labels, 2, neighbours=5, alpha=0.9) == pytest.approx(F / F.sum(1, keepdims=True), abs=1e-5)


def test_the_graph_links_the_nearest():
    X, _ = moons(50)
    W = graph(X, 4).toarray()
    nearest = np.argsort(cdist(X, X) + np.eye(50) * 9, 1)[:, :4]
    assert all(W[i, j] > 0 for i in range(50) for j in nearest[i])


def test_edges_of_clustering():
    one = cluster(np.zeros((1, 2)), 5, np.random.default_rng(0))
    assert (one.home.tolist(), one.typical.tolist()) == ([0], [0])
    same = cluster(np.ones((6, 2)), 3, np.random.default_rng(0))
    assert len(same.centres) == 1                     # rows that are all alike are one cluster
    with pytest.raises(ValueError, match="at least one"):
        cluster(np.zeros((0, 2)), 2, np.random.default_rng(0))


def test_separate_heaps_are_found_named_by_one_label_each_and_audited():
    rng = np.random.default_rng(2)
    kind = np.arange(90) % 3
    X = np.eye(3)[kind] * 10 + rng.normal(0, 0.3, (90, 3))
    found = cluster(X, 3, np.random.default_rng(1))
    labels = np.full(90, -1)
    labels[found.typical[:2]] = kind[found.typical[:2]]
    named = name(found.home, labels, 3)
    assert sorted(named.votes.tolist()) == [0, 1, 1]
    assert (named.labels >= 0).sum() == 60
    assert (named.labels == kind)[named.labels >= 0].all()
    audit = rng.permutation(90)[:40]
    share, (low, high), n = purity(named.labels, audit, kind[audit])
    assert (share, high, n < 40) == (1.0, 1.0, True)
    assert low < 0.9
    assert purity(np.full(90, -1), audit, kind[audit])[1:] == ((0.0, 1.0), 0)


def test_the_same_seed_gives_the_same_clusters():
    X, _ = moons()
    a, b = (cluster(X, 7, np.random.default_rng(3)).home for _ in range(2))
    assert (a == b).all()
