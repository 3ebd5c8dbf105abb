"""Events as arrays: what the vectorised metrics work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sed_lab.errors import InputError, some
from sed_lab.types import Event

Events = Mapping[str, Sequence[Event]]  # clip_id -> its events; clips without events are there too


@dataclass(frozen=True)
class EventTable:
    """Events as arrays ``[E]``: operating point, clip and class (indices), onset and offset in seconds."""

    point: np.ndarray
    clip: np.ndarray
    label: np.ndarray
    onset: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def length(self) -> np.ndarray:
        """Event lengths ``[E]`` in seconds."""
        return self.offset - self.onset

    def take(self, rows: np.ndarray) -> EventTable:
        """The events of ``rows`` (indices or a mask)."""
        return EventTable(self.point[rows], self.clip[rows], self.label[rows], self.onset[rows], self.offset[rows])


def event_table(points: Iterable[Events], clip_ids: Sequence[str], classes: Sequence[str]) -> EventTable:
    """Events of each operating point as one table; events of other clips and other classes are left out."""
    clip_of = {name: i for i, name in enumerate(clip_ids)}
    label_of = {name: i for i, name in enumerate(classes)}
    rows = [
        (number, clip_of[clip_id], label_of[event.event_label], event.onset, event.offset)
        for number, events in enumerate(points)
        for clip_id, found in events.items()
        if clip_id in clip_of
        for event in found
        if event.event_label in label_of
    ]
    columns = zip(*rows, strict=True) if rows else [()] * 5
    kinds = (np.int64, np.int64, np.int64, np.float64, np.float64)
    return EventTable(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True)))


def merge_overlaps(table: EventTable, touching: bool = False) -> tuple[EventTable, int]:
    """Overlapping events of one class become one event; also how many rows that took away.

    Touching events (offset equal to the next onset) stay apart, as in psds_eval 0.5.3, unless ``touching`` ones are to
    be joined too, as sed_scores_eval wants it.
    """
    order = np.lexsort((table.offset, table.onset, table.label, table.clip, table.point))
    table = table.take(order)
    if len(table) < 2:
        return table, 0
    group = np.ones(len(table), dtype=bool)
    group[1:] = (np.diff(table.point) != 0) | (np.diff(table.clip) != 0) | (np.diff(table.label) != 0)
    reach = table.offset.copy()
    first = group.copy()
    for row in np.flatnonzero(~group):  # runs on through overlaps, so row by row; a ground truth has few rows
        if table.onset[row] < reach[row - 1] or (touching and table.onset[row] == reach[row - 1]):
            reach[row] = max(reach[row], reach[row - 1])
        else:
            first[row] = True
    last = np.append(first[1:], True)
    merged = EventTable(table.point[first], table.clip[first], table.label[first], table.onset[first], reach[last])
    return merged, len(table) - len(merged)


def check_truth(truth: Events, durations: Mapping[str, float], classes: Sequence[str]) -> None:
    """Refuse a ground truth that cannot be measured against.

    Raises:
        InputError: it is empty, a clip has no duration, or a label is not one of ``classes``.
    """
    if not truth:
        raise InputError("the ground truth names no clip; give an annotation with at least one row")
    missing = [clip_id for clip_id in truth if clip_id not in durations]
    if missing:
        raise InputError(f"no duration for {len(missing)} clips of the ground truth, {missing[0]} first; add them")
    unknown = sorted({event.event_label for events in truth.values() for event in events} - set(classes))
    if unknown:
        raise InputError(
            f"the ground truth has events of {some(unknown)}, not among the classes {some(classes)};"
            " correct the labels, or declare every class"
        )
