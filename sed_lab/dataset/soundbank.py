"""A corpus of soundscapes from any folder of recordings: the user's own sounds in DESED's roles."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sed_lab.bank import folder as folder_bank
from sed_lab.bank import room as room_bank
from sed_lab.bank import varied
from sed_lab.bank.base import CachedBank
from sed_lab.bank.folder import FolderBank
from sed_lab.bank.making import Banks, code_of, sizes_of, soundscape_corpus
from sed_lab.bank.room import RoomBank
from sed_lab.bank.soundscape import Specification, distribution, even_occurrence, occurrence
from sed_lab.bank.varied import VariedBank
from sed_lab.clip.audio import SUFFIXES
from sed_lab.files import read_json
from sed_lab.types import Corpus

log = logging.getLogger(__name__)


def soundbank(
    bank_folder: Path | str,
    folder: Path | str,
    classes: Sequence[str] | None,
    backgrounds: Sequence[str] | None,
    folds: Mapping[str, Sequence[int]] | None,
    sizes: Mapping[str, int],
    snr: Sequence[Any],
    real_snr: Sequence[Any],
    event_range_db: float,
    event_gap_seconds: float,
    variants: int,
    max_events: int,
    statistics: Path | str | None,
    polyphony: int,
    room: bool,
    empty_share: float,
    sample_rate: int,
    clip_seconds: float,
    live: bool,
    seed: int,
) -> Corpus:
    """Soundscapes from ``bank_folder`` (see `FolderBank`), made once below ``folder``.

    The subsets draw from disjoint recordings: training ones from the bank's ``train`` split, validation ones from
    ``validation``, test from ``test``. Both domains come from the same bank; the "real" one (weak, unlabelled,
    validation, test) differs in its ``real_snr``, in ``empty_share`` of clips without events, and with ``room``
    in being heard in random small rooms (`RoomBank`). ``sizes`` are soundscapes per subset. An event is what lies
    within ``event_range_db`` of its recording's loudest frame: quieter tails cannot be heard, or their ends found, over
    a background; pauses up to ``event_gap_seconds`` do not end it. Training sounds come in ``variants`` pitches
    (`VariedBank`). ``statistics`` is a file in the form of DESED's event_occurences_train.json; without it all classes
    are as frequent, with 1 to ``max_events`` events a clip. ``live`` mixes the synthetic subset anew each epoch.

    Raises:
        InputError: as `FolderBank`; a wrong distribution, size or statistics file; ``folder`` cannot be written to.
    """
    given = dict(locals())  # all that decides what is made, but for where
    bank_folder = Path(bank_folder)
    table = read_json(Path(statistics)) if statistics is not None else None
    recordings, files = _recordings(bank_folder)
    levels = {"snr": distribution(snr, "snr"), "real_snr": distribution(real_snr, "real_snr")}
    settings = {name: value for name, value in given.items() if name not in ("bank_folder", "folder", "live")}
    settings |= {"bank": recordings, "sizes": sizes_of(sizes), "statistics": table}
    settings |= {"bank_code": code_of(folder_bank, room_bank, varied)}

    def open_banks() -> Banks:
        bank = FolderBank(
            bank_folder, classes, backgrounds, sample_rate, folds, 0.1, event_gap_seconds, event_range_db, seed
        )
        log.info("%s: %s", bank_folder, bank.roles())
        meets = even_occurrence(bank.classes, max_events) if table is None else occurrence(table, bank.classes)
        synthetic = Specification(meets, clip_seconds, snr=levels["snr"], polyphony=polyphony)
        real = Specification(meets, clip_seconds, snr=levels["real_snr"], polyphony=polyphony, empty_share=empty_share)
        cached = CachedBank(VariedBank(bank, variants, seed=seed))
        heard = CachedBank(RoomBank(cached, seed)) if room else cached
        return Banks(cached, heard, synthetic, real, bank.source_clips())

    return soundscape_corpus(Path(folder), "soundbank", settings, open_banks, live, files)


def _recordings(folder: Path) -> tuple[list[tuple[str, int]], list[Path]]:
    """Names and sizes of the bank's recordings, and the files: other recordings make another corpus."""
    found = [path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    return sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in found), found
