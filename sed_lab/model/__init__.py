"""Networks. Each declares what it ``gives``, in the words that a method's ``takes`` asks for:

- ``frame and clip logits``: ``[B, F, M]`` -> ``[B, T, C]`` and ``[B, C]``;
- ``encoded frames and their pooling``: the same in two steps, ``encode`` to ``[B, T, H]`` and ``pool``;
- ``one embedding a clip``: ``[B, F, M]`` -> ``[B, E]``, E in ``n_embedding``;
- ``a chunk's posterior``: ``[B, tau, M]`` -> logits ``[B, tau]`` of one class;
- ``features of embedding rows``: ``[B, R, 128]`` -> ``[B, D]``, D in ``n_features``.

``normalises_batches`` says whether it has batch normalisation, which sees each part of a global batch by itself.
"""
