"""sed_lab: sound event detection when classes are rare or unbalanced.

The way data flows, and a good order to read in::

    types.py        the words: Clip, Event, Batch, Scores
    dataset/        a corpus, one file each, from audio and annotation files (clip/), or made from sounds (bank/)
    clip/           Clip -> Batch
    method/         Batch -> loss terms, Batch -> probabilities: one file a paper
                    (front ends in feature/, networks in model/, losses in loss.py)
    decoder/        scores -> events
    metric/         scores, events -> numbers
    analysis/       what one paper alone measures and draws
    run/            a run's parts, identity, record and jobs
    experiment/     a paper's table: rows, columns, claims
    report/         records and scores -> figures, tables, the page to look at and listen to clips
    train.py        one run, from configuration to record: the table of contents
"""
