"""Parameters of networks, losses and optimisers, by the class that takes them."""

from __future__ import annotations

from sed_lab.parameter.kind import (
    EMPTY,
    NULL,
    TEXT,
    YES_NO,
    Parameter,
    Parameters,
    choice,
    either,
    number,
    or_null,
    pair,
    some_of,
    whole,
)

SIZE, NOT_NEGATIVE = whole(1), number(0)
SIZES = some_of(SIZE)
BELOW_ONE = number(0, below=1)
BLOCKS = Parameter(some_of(SIZE, 1), "filters of each convolution block")
STEP = pair(SIZE, "[time, frequency]")
STEPS = Parameter(some_of(STEP), "pooling of each block, [time, frequency]")
DROPOUT = Parameter(BELOW_ONE, "dropout")
UNITS = Parameter(SIZE, "units of each recurrent layer")

GRU_HEAD: Parameters = {
    "conv_dropout": Parameter(BELOW_ONE, "dropout in each convolution block"),
    "dropout": Parameter(BELOW_ONE, "dropout behind the GRU"),
    "gru_cells": Parameter(SIZE, "cells of the GRU in each direction"),
    "batch_norm_momentum": Parameter(number(0, 1), "share of each batch in the running statistics"),
    "batch_norm_eps": Parameter(number(above=0), "added to the variance"),
    "attention_over": Parameter(either(choice("classes", "frames"), NULL), "softmax of the pooling; null: the mean"),
    "attention_floor": Parameter(NOT_NEGATIVE, "least weight of a frame"),
}
MODELS: dict[str, Parameters] = {
    "sed_lab.model.crnn.CRNN": {
        "filters": BLOCKS,
        "pooling": STEPS,
        "gated": Parameter(YES_NO, "false: ReLU instead of the gate, behind the pooling"),
        "strided": Parameter(YES_NO, "true: the first convolution moves by its pooling; not with gates"),
        "input_dropout": Parameter(BELOW_ONE, "dropout before the GRU"),
        "gru_layers": Parameter(SIZE, "layers of the GRU"),
        **GRU_HEAD,
    },
    "sed_lab.model.pretrained.Pretrained": {
        "encoder": Parameter(TEXT, "a folder that the transformers library saved, or a name in its cache"),
        "download": Parameter(YES_NO, "true: fetch what the cache lacks"),
        "frozen": Parameter(YES_NO, "false: the encoder is fine-tuned"),
        "encoder_lr": Parameter(number(above=0), "its learning rate where it is not frozen"),
        "train_layers": Parameter(or_null(SIZE), "its last layers that are fine-tuned; null: all"),
        "frame_seconds": Parameter(number(above=0), "length of an output frame where there are no convolutions, s"),
        "filters": Parameter(SIZES, "filters of each convolution block beside the encoder; []: none"),
        "pooling": STEPS,
        "gru_layers": Parameter(whole(0), "layers of the GRU; 0: the heads are on the encoder's frames"),
        **GRU_HEAD,
    },
    "sed_lab.model.attention_pool.AttentionPool": {
        "filters": BLOCKS,
        "kernels": Parameter(SIZES, "size of each block's convolution"),
        "pooling": Parameter(SIZES, "of the mel bins, of each block"),
    },
    "sed_lab.model.chunk_net.ChunkNet": {
        "filters": Parameter(
            either(pair(SIZE, "[first, second]"), EMPTY), "filters of both convolutions; []: there are none"
        ),
        "pooling": Parameter(
            either(pair(SIZE, "[first, second]"), EMPTY), "of the mel bins, of both; []: there are none"
        ),
        "n_units": UNITS,
        "n_layers": Parameter(whole(0), "LSTM layers"),
        "direction": Parameter(choice("reverse", "forward", "both"), "of the LSTM layers in time"),
        "n_dense": Parameter(SIZE, "units of the dense layer"),
        "dropout": DROPOUT,
    },
    "sed_lab.model.chunk_net.ContextNet": {
        "context": Parameter(SIZE, "frames it sees, an odd number"),
        "n_units": Parameter(SIZE, "units of each of its two layers"),
        "dropout": DROPOUT,
    },
    "sed_lab.model.encoder.CNNEncoder": {
        "filters": BLOCKS,
        "kernel": Parameter(SIZE, "size of the convolutions"),
        "pooling": STEPS,
        "dropout": DROPOUT,
    },
    "sed_lab.model.encoder.LSTMEncoder": {
        "n_units": UNITS,
        "forget_bias": Parameter(number(), "bias of the forget gates at the start"),
    },
    "sed_lab.model.embedding_net.RowCNN": {
        "last_pooling": Parameter(YES_NO, "true: also pool after the third convolution"),
        "padding": Parameter(choice("valid", "same"), "of the first convolution"),
    },
    "sed_lab.model.embedding_net.RowFNN": {"hidden": Parameter(SIZES, "units of each dense layer")},
    "sed_lab.model.embedding_net.MeanRow": {},
}

FOCAL: Parameters = {
    "gamma": Parameter(NOT_NEGATIVE, "focusing; 0: cross-entropy"),
    "alpha": Parameter(or_null(number(above=0, below=1)), "balancing factor of positive targets; null: none"),
}
SPARSE = Parameter(YES_NO, "true: from the class's number instead of the one-hot vector")
EPSILON = Parameter(number(above=0, below=0.5), "probabilities are clipped to [epsilon, 1 - epsilon]")
LOSSES: dict[str, Parameters] = {
    "sed_lab.loss.Binary": {},
    "sed_lab.loss.ClippedBinary": {"epsilon": EPSILON},
    "sed_lab.loss.Categorical": {"sparse": SPARSE},
    "sed_lab.loss.ClippedCategorical": {"sparse": SPARSE, "epsilon": EPSILON},
    "sed_lab.loss.WeightedBinary": {},
    "sed_lab.loss.Focal": FOCAL,
    "sed_lab.loss.ClassBalancedFocal": {
        **FOCAL,
        "samples": Parameter(choice("events", "clips", "frames"), "what counts as a sample"),
    },
    "sed_lab.loss.TimeBalancedFocal": {
        **FOCAL,
        "k": Parameter(number(above=0, infinite=True), "scale of the classes' shares of frames"),
        "statistics": Parameter(choice("dataset", "table1"), "counted on the training clips, or the paper's for DESED"),
        "strict": Parameter(YES_NO, "true: refuse a k so small that floor(k r_c) is 0 for some class"),
    },
}

ADAM: Parameters = {
    "lr": Parameter(number(above=0), "learning rate"),
    "betas": Parameter(pair(number(0, below=1), "[beta1, beta2], each from 0 to below 1"), "decay of the moments"),
    "eps": Parameter(number(above=0), "added to the root of the second moment"),
    "weight_decay": Parameter(NOT_NEGATIVE, "decay of the weights"),
    "amsgrad": Parameter(YES_NO, "true: the largest second moment so far"),
    "foreach": Parameter(or_null(YES_NO), "how steps are computed"),
    "fused": Parameter(or_null(YES_NO), "how steps are computed"),
}
OPTIMIZERS: dict[str, Parameters] = {"torch.optim.Adam": ADAM, "torch.optim.AdamW": ADAM}
