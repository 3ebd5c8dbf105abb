"""How near frames of the same class lie across two domains in an encoder's space (Huang et al. 2021, fig. 2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def domain_similarity(embedding: np.ndarray, event_label: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Cosine similarities of real with synthetic frames; empty without a class that both domains hold.

    Args:
        embedding: ``[N, H]`` frames.
        event_label: ``[N]`` the number of the one class each holds.
        synthetic: ``[N]`` booleans: the domain.

    Returns:
        ``same_class`` and ``other_class``: mean similarity of the pairs with the same and with different classes;
        ``gap``: the former less the latter; ``nearest``: share of real frames whose nearest synthetic frame is of the
        same class. All are means over the classes that both domains hold; frames of others are left out.
    """
    shared = [c for c in np.unique(event_label) if {*synthetic[event_label == c].tolist()} == {True, False}]
    kept = np.isin(event_label, shared)
    x, label, is_synthetic = embedding[kept].astype(np.float64), event_label[kept], synthetic[kept]
    if len(shared) < 2:
        return {}
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosine = x[~is_synthetic] @ x[is_synthetic].T
    real, made = label[~is_synthetic], label[is_synthetic]
    nearest = made[cosine.argmax(axis=1)] == real
    parts = [
        (cosine[real == c][:, made == c].mean(), cosine[real == c][:, made != c].mean(), nearest[real == c].mean())
        for c in shared
    ]
    same, other, share = (float(np.mean(values)) for values in zip(*parts, strict=True))
    return {"same_class": same, "other_class": other, "gap": same - other, "nearest": share}


def frames_of_run(folder: Path) -> dict[str, np.ndarray] | None:
    """embeddings/frames.npz of a run's folder; None where its method keeps none."""
    path = folder / "embeddings" / "frames.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
