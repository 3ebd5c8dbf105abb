"""sed_lab: sound event detection when classes are rare or unbalanced.

The way data flows, and a good order to read in::

    types.py        the words: Clip, Event, Batch, Scores
    dataset/        audio and annotation files -> Clip -> Batch
    method/         Batch -> loss, Batch -> scores (one file per paper; networks in model/, losses in loss.py)
    evaluation.py   gathers scores of all ranks while training
    decoder.py      scores -> events
    metric/         scores, events -> numbers
    run.py          a run's identity, files and record
    report/         record and scores -> figures, tables, the page to look at and listen to clips
    train.py        one run, from configuration to record: the table of contents
"""
