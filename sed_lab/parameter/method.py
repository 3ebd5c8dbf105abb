"""Parameters of methods, by the class that takes them; the only place in shared code where papers are named."""

from __future__ import annotations

from sed_lab.parameter.kind import (
    NODE,
    PATH,
    SHARE,
    YES_NO,
    Parameter,
    Parameters,
    choice,
    keys,
    named,
    number,
    or_null,
    some_of,
    whole,
)
from sed_lab.parameter.network import BELOW_ONE, NOT_NEGATIVE, SIZE

OPTIMIZER = Parameter(NODE, "of the weights; a class of torch.optim with its settings")
AUGMENT: Parameters = {
    "roll": Parameter(YES_NO, "clips and their frame labels are turned around in time"),
    "filter_db": Parameter(NOT_NEGATIVE, "limits of a random frequency response, dB"),
    "filter_points": Parameter(whole(2), "points that it goes through"),
}
MIXUP: Parameters = {
    "probability": Parameter(SHARE, "share of the batches that are mixed"),
    "alpha": Parameter(number(above=0), "of the beta distribution of shares"),
    "labels": Parameter(choice("soft", "hard"), "mixed like the clips, or those of both"),
}
PATIENCE = Parameter(whole(0), "epochs without a lower validation loss that end the training")
CLUSTERED: Parameters = {
    "optimizer": OPTIMIZER,
    "cluster_counts": Parameter(or_null(some_of(SIZE, 1)), "clusters of each class; null: after the smallest class"),
    "detector_epochs": Parameter(SIZE, "most epochs of the output layer alone, and again of everything"),
    "patience": PATIENCE,
}
METHODS: dict[str, Parameters] = {
    "sed_lab.method.supervised.Supervised": {
        "optimizer": OPTIMIZER,
        "augment": Parameter(keys(AUGMENT), "augmentation of training clips"),
        "clip_weight": Parameter(NOT_NEGATIVE, "of the clip loss beside the frame loss"),
        "warmup_share": Parameter(BELOW_ONE, "share of all steps in which the rate rises"),
        "finer_scores": Parameter(YES_NO, "true: predict at the feature's own rate"),
    },
    "sed_lab.method.park2022.MeanTeacher": {
        "optimizer": OPTIMIZER,
        "mixup": Parameter(keys(MIXUP), "mixing of training clips"),
        "consistency_max": Parameter(NOT_NEGATIVE, "full weight of the consistency loss"),
        "rampup_epochs": Parameter(NOT_NEGATIVE, "epochs in which rate and weight rise; 0: none"),
        "ema_decay": Parameter(number(0, 1), "largest decay of the teacher's moving average"),
        "teacher_train_mode": Parameter(YES_NO, "true: the teacher has dropout and normalises by the batch"),
        "first_step_full_rate": Parameter(YES_NO, "true: the first update has the full rate, as in the baseline"),
    },
    "sed_lab.method.arora2019.WeightedDetector": CLUSTERED,
    "sed_lab.method.arora2019.EmbeddingClusters": {
        **CLUSTERED,
        "embedding_epochs": Parameter(some_of(SIZE, 1), "epochs of the encoder in each iteration"),
        "centroid_epochs": Parameter(SIZE, "epochs of the centroids before"),
        "pretrained": Parameter(or_null(PATH), "detector.ckpt of a run that the encoder starts from; null: at random"),
        "alpha": Parameter(number(above=0), "initial length of the centroids"),
        "same_margin": Parameter(number(), "margin b' to other clusters of the class"),
        "other_margin": Parameter(number(), "margin b'' to clusters of other classes"),
        "balance": Parameter(choice("greedy", "alternate", "none"), "of the clusters' sizes"),
        "keep_embeddings": Parameter(YES_NO, "true: embeddings of each iteration are written into the run's folder"),
    },
    "sed_lab.method.huang2021.WeakSynthetic": {
        "optimizer": OPTIMIZER,
        "ifd": Parameter(YES_NO, "inter-frame distance loss"),
        "sedb": Parameter(YES_NO, "sound event detection branch"),
        "ifd_weight": Parameter(NOT_NEGATIVE, "of the inter-frame distance loss"),
        "norm_weight": Parameter(NOT_NEGATIVE, "of the frames' lengths within it"),
        "sedb_weight": Parameter(NOT_NEGATIVE, "of the branch's loss"),
        "form": Parameter(choice("exact", "mean"), "mean: the hinge of each anchor's mean similarities"),
        "margin": Parameter(number(), "of the distance loss"),
        "active_only": Parameter(YES_NO, "true: two silent frames are no pair"),
        "n_projection": Parameter(SIZE, "size of the projected frames"),
        "pseudo_threshold": Parameter(SHARE, "score from which a frame gets a pseudo label"),
        "ifd_from_epoch": Parameter(whole(0), "epoch from which the distance loss counts"),
        "rate_decay": Parameter(number(above=0, most=1), "factor of the rate every rate_epochs"),
        "rate_epochs": Parameter(SIZE, "epochs between two decays"),
        "patience": Parameter(whole(0), "validations without a better objective that end the training"),
    },
    "sed_lab.method.amiriparian2018.RareEnsemble": {
        "optimizer": OPTIMIZER,
        "timesteps": Parameter(named(some_of(whole(0), 1), "class"), "numbers of frames; 0: whole clips"),
        "rate_decay": Parameter(NOT_NEGATIVE, "of the learning rate, an epoch"),
        "min_epochs": Parameter(whole(0), "epochs that each detector trains at least"),
        "patience": PATIENCE,
        "members": Parameter(YES_NO, "true: also score each number of timesteps by itself"),
    },
    "sed_lab.method.aziz2020.RowClassifier": {
        "optimizer": OPTIMIZER,
        "normalise": Parameter(YES_NO, "true: embeddings are divided by 255"),
        "multi_output": Parameter(YES_NO, "true: one head a class, the sum of their losses"),
    },
}
