"""What only one paper measures and draws, a module a paper, from what runs store.

A configuration names the modules it wants (``analysis: [sed_lab.analysis.park2022]``), of this package or of one's own.
A module may have

- ``measure(folder, metrics)``: from a run's folder and what was measured of it, more numbers and more curves of each
  system, both as ``{system: {block: {name: value}}}``, which join those of metrics.json and curves.json;
- ``NUMBERS``: patterns of the names of its numbers, so that a table can ask for them;
- ``figures(run)``: figures of a run's page by name, each with its caption.

An experiment file names a function to draw its figure: ``figure: {draw: sed_lab.analysis.arora2019.sphere, ...}``. It
is given the table, and what else stands there by name.
"""
