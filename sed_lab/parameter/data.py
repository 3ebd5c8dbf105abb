"""Parameters of datasets and front ends, by the class or function that takes them."""

from __future__ import annotations

from sed_lab.parameter.kind import (
    NAMES,
    NULL,
    PATH,
    SEED,
    SHARE,
    TEXT,
    YES_NO,
    Kind,
    Parameter,
    Parameters,
    choice,
    either,
    is_number,
    keys,
    named,
    number,
    or_null,
    pair,
    some_of,
    whole,
)

FORMS = {"const": 1, "uniform": 2, "normal": 2, "truncnorm": 4, "choose": 1}


def _is_distribution(value: object) -> bool:
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or FORMS.get(value[0]) is None:
        return False
    kind, *given = value
    if kind == "choose":
        return len(given) == 1 and isinstance(given[0], list) and bool(given[0]) and all(map(is_number, given[0]))
    if len(given) != FORMS[kind] or not all(map(is_number, given)):
        return False
    ordered = kind not in ("uniform", "truncnorm") or given[-2] <= given[-1]
    return ordered and (kind not in ("normal", "truncnorm") or given[1] > 0)


DISTRIBUTION = Kind(
    "[const, v], [uniform, low, high], [normal, mean, sd], [truncnorm, mean, sd, low, high] or [choose, [v, ...]]",
    _is_distribution,
)
COUNT = whole(0)
COUNTS = named(COUNT)
LABEL = either(TEXT, whole(0))
LABELS = Kind(
    "a list of labels, each a display name, a machine id, a number, or {name of your own: one of these}",
    lambda value: (
        isinstance(value, (list, dict))
        and bool(value)
        and all(
            LABEL.fits(one) or (isinstance(one, dict) and len(one) == 1 and all(map(LABEL.fits, one.values())))
            for one in (value if isinstance(value, list) else [value])
            if not isinstance(value, dict)
        )
        and (not isinstance(value, dict) or all(map(LABEL.fits, value.values())))
    ),
)
MIXTURES = keys(
    {
        "mixtures_per_class": Parameter(whole(1), "mixtures of each class"),
        "ebrs": Parameter(some_of(number(), 1), "levels of an event over its background, dB"),
        "event_presence_prob": Parameter(SHARE, "share of the mixtures that hold an event"),
        "seed": Parameter(SEED, "of what is drawn"),
    }
)

CACHE = Parameter(PATH, "where it is made on first use")
RATE = Parameter(whole(1), "sample rate, Hz")
SECONDS = Parameter(number(above=0), "length of a clip, s")
OF_DRAWS = Parameter(SEED, "of what is drawn")
FOLDER = Parameter(PATH, "the corpus")
BANK = Parameter(PATH, "your recordings, a folder for each class, or ESC-10 or ESC-50")
FOLDS = Parameter(or_null(named(some_of(COUNT), "split")), "folds of train, validation and test; null: by themselves")
SIZES = Parameter(named(COUNT, "subset"), "clips of each subset")
SNR = Parameter(DISTRIBUTION, "level of an event over the background, dB")
OTHERS = Parameter(COUNT, "most sounds of other classes in a clip")
CLASS_COUNTS = Parameter(named(COUNTS, "subset"), "clips of each class in each subset")
SOUNDS = Parameter(named(COUNT, "split"), "sounds of a class, in each split of the bank")
SCENES = Parameter(named(COUNT, "split"), "backgrounds in each split")
RESAMPLED = Parameter(YES_NO, "true: keep copies at sample_rate beside recordings of another rate")
LIVE = Parameter(YES_NO, "true: mix the synthetic subset anew each epoch")
EMPTY = Parameter(SHARE, "share of clips without events in unlabelled, validation and test")

MINI_DESED: Parameters = {
    "folder": CACHE,
    "sizes": SIZES,
    "bank_share": Parameter(number(above=0), "sounds per class, as a share of DESED's sound bank"),
    "snr": SNR,
    "real_snr": Parameter(DISTRIBUTION, "the same in weak, unlabelled, validation and test, dB"),
    "empty_share": EMPTY,
    "sample_rate": RATE,
    "clip_seconds": SECONDS,
    "live": LIVE,
    "seed": OF_DRAWS,
}
RARE_CLIPS: Parameters = {
    "folder": CACHE,
    "counts": CLASS_COUNTS,
    "snr": SNR,
    "others": OTHERS,
    "sample_rate": RATE,
    "clip_seconds": SECONDS,
    "seed": OF_DRAWS,
}
RARE_MIXTURES: Parameters = {
    "folder": CACHE,
    "mixtures": Parameter(named(MIXTURES, "subset"), "the mixtures of each subset"),
    "scenes": SCENES,
    "others": OTHERS,
    "snr": SNR,
    "sample_rate": RATE,
    "seed": OF_DRAWS,
}
EMBEDDING_SPLIT: Parameters = {
    "classes": Parameter(LABELS, "classes, by labels of AudioSet's"),
    "labels": Parameter(choice("single", "any"), "single: clips of exactly one of the classes; any: of one or more"),
    "test_subsets": Parameter(or_null(NAMES), "subsets that test; null: train_share of the clips train"),
    "train_share": Parameter(number(above=0, below=1), "share of the clips that train; the others test"),
    "per_class": Parameter(or_null(whole(1)), "most clips of a class; null: all"),
    "row_exchange": Parameter(choice("training", "before_split", "none"), "how rare classes are filled up"),
    "seed": OF_DRAWS,
}

DATASETS: dict[str, Parameters] = {
    "sed_lab.dataset.mini_desed.mini_desed": MINI_DESED,
    "sed_lab.dataset.mini_weak_synthetic.mini_weak_synthetic": {
        **MINI_DESED,
        "recorded": Parameter(YES_NO, "true: clips of the real domain are recordings by many microphones in rooms"),
        "true_events": Parameter(YES_NO, "true: weak clips carry their strong labels too"),
    },
    "sed_lab.dataset.folder.own_recordings": {
        "audio_folder": Parameter(PATH, "your recordings, annotated where they lie"),
        "folder": Parameter(PATH, "where clips are cut on first use"),
        "classes": Parameter(or_null(NAMES), "event classes; null: all labels"),
        "label_column": Parameter(
            or_null(TEXT), "of Raven tables; null: Annotation, Label, Class, Species or Common Name"
        ),
        "corrected": Parameter(YES_NO, "true: annotations with confidences, as detectors write them, were corrected"),
        "shares": Parameter(named(number(0, below=1), "subset"), "of each class's recordings that validate and test"),
        "sample_rate": RATE,
        "clip_seconds": SECONDS,
        "seed": Parameter(SEED, "of the split"),
    },
    "sed_lab.dataset.soundbank.soundbank": {
        "bank_folder": BANK,
        "folder": CACHE,
        "classes": Parameter(or_null(NAMES), "event classes; null: every folder that is no background"),
        "backgrounds": Parameter(or_null(NAMES), "folders or patterns; null: those that sound like it"),
        "folds": FOLDS,
        "sizes": SIZES,
        "snr": SNR,
        "real_snr": MINI_DESED["real_snr"],
        "event_range_db": Parameter(number(above=0), "an event lies within this range of its loudest frame, dB"),
        "event_gap_seconds": Parameter(number(0), "pauses up to this length do not end an event, s"),
        "variants": Parameter(whole(1), "versions of each training sound, in other pitches; 1: as recorded"),
        "max_events": Parameter(whole(1), "most events of a soundscape, where there are no statistics"),
        "statistics": Parameter(or_null(PATH), "a file of which classes meet how often; null: alike"),
        "polyphony": Parameter(whole(1), "most events at once"),
        "room": Parameter(YES_NO, "true: the real domain's clips lie in random small rooms"),
        "empty_share": EMPTY,
        "sample_rate": RATE,
        "clip_seconds": SECONDS,
        "live": LIVE,
        "seed": OF_DRAWS,
    },
    "sed_lab.dataset.rare_clips.mini_rare_clips": {**RARE_CLIPS, "instances": SOUNDS},
    "sed_lab.dataset.rare_clips.bank_rare_clips": {
        **RARE_CLIPS,
        "bank_folder": BANK,
        "classes": Parameter(NAMES, "the rare classes; all others are background"),
        "folds": FOLDS,
    },
    "sed_lab.dataset.rare_mixtures.mini_rare_mixtures": {
        **RARE_MIXTURES,
        "instances": SOUNDS,
        "other_classes": Parameter(NAMES, "heard in the backgrounds, unlabelled"),
    },
    "sed_lab.dataset.rare_mixtures.bank_rare_mixtures": {
        **RARE_MIXTURES,
        "bank_folder": BANK,
        "classes": Parameter(NAMES, "the rare classes"),
        "backgrounds": Parameter(or_null(NAMES), "folders or patterns; null: those that sound like it"),
        "other_classes": Parameter(or_null(NAMES), "heard in the backgrounds, unlabelled; null: every other class"),
        "folds": FOLDS,
    },
    "sed_lab.dataset.mini_embeddings.mini_embeddings": {
        "folder": CACHE,
        "counts": Parameter(COUNTS, "clips of each combination of sounds"),
        "short": Parameter(COUNT, "clips of fewer than ten rows"),
        "snr": Parameter(pair(number(), "[lowest, highest]"), "level of a sound over the background, dB"),
        **EMBEDDING_SPLIT,
    },
    "sed_lab.dataset.audioset_embeddings.read_audioset_embeddings": {
        "folder": FOLDER,
        "cache": CACHE,
        "subsets": Parameter(NAMES, "which of bal_train, eval and unbal_train"),
        **EMBEDDING_SPLIT,
    },
    "sed_lab.dataset.audioset_rare.read_audioset_rare": {
        "folder": FOLDER,
        "classes": Parameter(named(NAMES, "class"), "labels of AudioSet's that make each class"),
        "exclude": Parameter(NAMES, "labels that are not in the background either"),
        "counts": Parameter(either(NULL, CLASS_COUNTS.kind), "most clips of each class; null: all there are"),
        "ratio": Parameter(or_null(named(whole(1), "class")), "of the classes, to be kept; null: as they are"),
        "sample_rate": RATE,
        "clip_seconds": SECONDS,
        "seed": OF_DRAWS,
    },
    "sed_lab.dataset.dcase2018.read_dcase2018": {
        "folder": FOLDER,
        "sample_rate": RATE,
        "clip_seconds": SECONDS,
        "soundscapes": Parameter(choice("synthetic21", "synthetic20"), "those that train"),
        "soundscape_count": Parameter(or_null(whole(1)), "how many of them, drawn by seed; null: all"),
        "resampled": RESAMPLED,
        "seed": OF_DRAWS,
    },
    "sed_lab.dataset.desed.read_desed": {
        "folder": FOLDER,
        "sample_rate": RATE,
        "clip_seconds": SECONDS,
        "weak_split": Parameter(number(above=0, most=1), "share of weak.tsv that trains, the rest validates"),
        "weak_split_seed": OF_DRAWS,
        "resampled": RESAMPLED,
        "source_clips": Parameter(
            either(choice("soundbank", "table1"), named(whole(1), "class")), "recordings of each class"
        ),
        "seed": OF_DRAWS,
    },
    "sed_lab.dataset.tut_rare.read_tut_rare": {
        "folder": FOLDER,
        "train": Parameter(some_of(MIXTURES, 1), "sets of training mixtures"),
        "sample_rate": RATE,
        "test": Parameter(choice("evaltest", "devtest"), "the mixtures that test"),
        "seed": OF_DRAWS,
    },
    "sed_lab.dataset.toy.toy_points": {
        "counts": CLASS_COUNTS,
        "blobs": Parameter(named(whole(1), "class"), "normal distributions that make up a class"),
        "dimensions": Parameter(whole(1), "of a point"),
        "distance": Parameter(number(0), "of the distributions' centres from the origin"),
        "seed": OF_DRAWS,
    },
}

MEL: Parameters = {
    "sample_rate": RATE,
    "n_fft": Parameter(whole(2), "length of the Fourier transform, samples"),
    "win_length": Parameter(whole(1), "length of the window, samples"),
    "hop_length": Parameter(whole(1), "from frame to frame, samples"),
    "n_mels": Parameter(whole(1), "mel bins"),
    "f_min": Parameter(number(0), "lowest frequency, Hz"),
    "f_max": Parameter(or_null(number(above=0)), "highest frequency, Hz; null: half the sample rate"),
}
STANDARD_MEL = {**MEL, "log_offset": Parameter(number(above=0), "added to the mel before the logarithm")}
FEATURES: dict[str, Parameters] = {
    "sed_lab.feature.log_mel.LogMel": {
        **MEL,
        "window": Parameter(choice("hamming", "hann"), "its form"),
        "periodic": Parameter(YES_NO, "false: the symmetric window"),
        "power": Parameter(number(above=0), "of the spectrum; 1: magnitudes"),
        "amin": Parameter(number(above=0), "least mel before the logarithm; scaler=natural: added to it"),
        "db_range": Parameter(or_null(pair(number(), "[lowest, highest]")), "what is cut off, dB; null: nothing"),
        "scaler": Parameter(choice("clip_minmax", "none", "natural"), "how the logarithm is taken and scaled"),
        "mel_scale": Parameter(choice("htk", "slaney"), "formula of the mel scale"),
        "mel_norm": Parameter(or_null(choice("slaney")), "slaney: triangles of one area; null: of one height"),
        "pad_mode": Parameter(choice("reflect", "constant"), "what lies beyond a clip's ends; constant: zeros"),
        "last_frame": Parameter(YES_NO, "true: N // hop_length + 1 frames; false: one less"),
    },
    "sed_lab.feature.standard_mel.StandardLogMel": STANDARD_MEL,
    "sed_lab.feature.standard_mel.HammingLogMel": STANDARD_MEL,
    "sed_lab.feature.vggish.VggishEmbedding": {
        "weights": Parameter(or_null(PATH), "VGGish's weights; null: there is no audio"),
        "pca": Parameter(or_null(PATH), "VGGish's PCA; null: there is no audio"),
    },
    "sed_lab.dataset.mini_embeddings.mini_vggish": {"folder": CACHE},
    "sed_lab.dataset.toy.PointFeature": {"dimensions": Parameter(whole(1), "of a point")},
}
