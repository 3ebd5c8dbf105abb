"""Embeddings of recordings, ten seconds at a time, as AudioSet's clips have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sed_lab.clip.audio import audio_info, read_audio
from sed_lab.clip.tfrecord import SECONDS, EmbeddingRecord
from sed_lab.feature.vggish import VggishEmbedding


def embedded(path: Path, front_end: VggishEmbedding, device: str = "cpu") -> Iterator[EmbeddingRecord]:
    """A record of ten rows for each ten seconds of a recording, the last ones filled up with silence.

    The file's name without suffix stands for the video's, times are those within the file, and there are no labels.

    Raises:
        InputError: the file, or one of VGGish's, cannot be read.
    """
    rate = front_end.sample_rate
    duration = audio_info(path).duration
    start = 0.0
    while start == 0 or start < duration - 1e-6:
        audio = read_audio(path, rate, start, SECONDS)
        filled = np.pad(audio, (0, round(SECONDS * rate) - len(audio)))
        rows = front_end(torch.from_numpy(filled)[None].to(device))[0].cpu().numpy()
        end = min(start + SECONDS, duration)
        yield EmbeddingRecord(path.stem, start, end, (), tuple(row.tobytes() for row in rows))
        start += SECONDS
