"""The head and the front end of a pretrained encoder: the grid of frames, frozen and fine-tuned, kept embeddings."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from sed_lab.clip.audio import ClipFiles, write_audio
from sed_lab.clip.batch import encode_strong
from sed_lab.clip.module import SedData
from sed_lab.errors import InputError
from sed_lab.loss import Binary
from sed_lab.method.base import Parts
from sed_lab.method.park2022 import MeanTeacher
from sed_lab.model.pretrained import Pretrained
from sed_lab.model.pretrained_encoder import Encoder
from sed_lab.model.pretrained_frames import EncoderFrontEnd, onto_frames
from sed_lab.run.assemble import Facts, assemble, use_cached_features
from sed_lab.types import Clip, Corpus, Event
from tests.configured import configured, option
from tests.made.encoders import saved

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
]
CLASSES = ("Dog", "Cat")
RATE, SECONDS = 16000, 1.0
Alone = configured("model/pretrained", gru_cells=4)
Beside = configured("model/pretrained_crnn", gru_cells=4, filters=[4, 6], pooling=[[2, 8], [1, 8]])
LogMel = configured("feature/log_mel_small")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(tmp_path_factory.mktemp(kind), kind) for kind in ("ast", "wav2vec2")}


def made(folder: Path, option: Any = Alone, **changed: Any) -> tuple[Pretrained, EncoderFrontEnd]:
    torch.manual_seed(0)
    model = option(len(CLASSES), round(RATE * SECONDS), LogMel(), str(folder), **changed)
    return model, model.take_front_end()


def audio_of(clips: int = 3) -> torch.Tensor:
    return torch.randn(clips, round(RATE * SECONDS), generator=torch.Generator().manual_seed(1)) * 0.1


# AST's times as published, speech's, and made ones whose step is no whole number of anything.
TIMES = {"ast": (0.0875, 0.1, 101), "speech": (0.0125, 0.02, 499), "odd": (0.05, 0.0731, 136)}


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("hop", [0.064, 0.016, 0.1])
def test_an_event_lands_in_the_frames_that_its_target_has(kind: str, hop: float) -> None:
    """Embeddings that say 1 while an event is on give the target of that event, but for the frames of its borders."""
    first, step, count = TIMES[kind]
    centres = first + step * torch.arange(count).double()
    n_frames = math.ceil(10 / hop)  # 156.25 of them for 64 ms
    weights = onto_frames(centres, n_frames, hop, 10.0)
    for onset, offset in ((0.0, 1.3), (3.05, 4.9), (7.77, 10.0)):
        told = ((centres >= onset) & (centres < offset)).double()
        target = encode_strong([Event(onset, offset, "Dog")], CLASSES, n_frames, hop)[:, 0]
        found = ((weights @ told) > 0.5).float().numpy()
        differing = (found != target).nonzero()[0]
        borders = [time for time in (onset, offset) if 0 < time < 10]
        far = [f for f in differing if min(abs((f + 0.5) * hop - time) for time in borders) > (hop + step) / 2 + 1e-9]
        assert far == []
        assert target.sum() - len(differing) > 5
    # Where frames are shorter than the step, an embedding's own time gives it back: nothing is shifted.
    times = weights @ centres
    middles = (torch.arange(n_frames).double() + 0.5) * hop
    inside = (middles > centres[0] + hop) & (middles < centres[centres <= 10][-1] - hop)
    assert (times - middles)[inside].abs().max() < (1e-6 if hop <= step else step / 2)


def seconds(*times: float) -> torch.Tensor:
    return torch.tensor(times, dtype=torch.float64)


def test_frames_weigh_embeddings_as_worked_out_by_hand() -> None:
    far = onto_frames(seconds(0.1, 0.3), 4, 0.1, 0.4)  # middles .05 .15 .25 .35, a step of .2
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    torch.testing.assert_close(far, torch.tensor(expected).double(), rtol=0, atol=1e-7)
    near = onto_frames(seconds(0.1, 0.2, 0.3, 0.4), 2, 0.2, 0.4)  # middles .1 .3: triangles of .2 on each side
    expected = [[2 / 3, 1 / 3, 0, 0], [0, 0.25, 0.5, 0.25]]
    torch.testing.assert_close(near, torch.tensor(expected).double(), rtol=0, atol=1e-7)
    filled = onto_frames(seconds(0.1, 0.3, 0.5), 4, 0.1, 0.4)  # the third is of what fills the clip up
    torch.testing.assert_close(filled[:, 2], torch.zeros(4).double())


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
@pytest.mark.parametrize("option_", [Alone, Beside], ids=["alone", "beside"])
def test_frozen_and_fine_tuned_start_from_the_same_function(folders: dict[str, Path], kind: str, option_: Any) -> None:
    frozen, front = made(folders[kind], option_)
    tuned, passing = made(folders[kind], option_, frozen=False)
    tuned.load_state_dict({**tuned.state_dict(), **frozen.state_dict()})
    x = audio_of()
    frames, clip = frozen.eval()(front(x))
    torch.testing.assert_close(tuned.eval()(passing(x)), (frames, clip), rtol=1e-4, atol=1e-5)
    assert frames.shape == (3, frozen.frames(front.frames(RATE)), 2)
    assert clip.shape == (3, 2)
    pooled = 1 if option_ is Alone else 2
    assert (front.hop_length, front.frames(RATE), frozen.time_pooling) == ((1024, 16, 1), (512, 32, 2))[pooled - 1]
    assert front(x).shape == (3, front.n_frames, 32 + (0 if option_ is Alone else 64))


def test_bfloat16_leaves_embeddings_as_they_are_and_fine_tuning_nearly(folders: dict[str, Path]) -> None:
    frozen, front = made(folders["ast"], Beside)
    tuned, passing = made(folders["ast"], Beside, frozen=False)
    tuned.load_state_dict({**tuned.state_dict(), **frozen.state_dict()})
    x = audio_of()
    exact, (frames, _) = front(x), tuned.eval()(passing(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(x), exact)
        half, half_clip = tuned(passing(x))
    torch.testing.assert_close(half.float(), frames, rtol=0, atol=0.03)
    assert half_clip.dtype == torch.float32


def test_the_mel_beside_it_is_that_of_the_front_end_and_mixing_mixes_all_columns(folders: dict[str, Path]) -> None:
    _, front = made(folders["wav2vec2"], Beside)
    log_mel, x = LogMel(), audio_of()
    torch.testing.assert_close(front.mel(x)[..., :64], log_mel.mel(x))
    torch.testing.assert_close(front(x)[..., :64], log_mel(x))
    torch.testing.assert_close(front(x)[..., 64:], front.mel(x)[..., 64:])
    model, passing = made(folders["wav2vec2"], frozen=False)
    mixed = 0.3 * passing.mel(x) + 0.7 * passing.mel(x.flip(0))  # of samples: the encoder hears the mixture
    model.eval()
    expected = model(passing(0.3 * x + 0.7 * x.flip(0)))
    torch.testing.assert_close(model(passing.scale(mixed)), expected, rtol=1e-4, atol=1e-5)


def test_a_front_end_with_statistics_is_fitted_beside_an_encoder_as_alone(folders: dict[str, Path]) -> None:
    standard = configured("feature/standardised_mel")
    alone, x, seconds_ = standard(), audio_of(), torch.tensor([1.0, 0.5, 1.0])
    alone.fit([(alone.mel(x), seconds_)])
    model = Beside(2, RATE, standard(), str(folders["ast"]))
    front = model.take_front_end()
    assert not front.fitted
    front.fit([(front.mel(x), seconds_)])
    assert front.fitted
    torch.testing.assert_close(front(x)[..., :64], alone(x), rtol=0, atol=0)
    assert set(front.state_dict()) == {f"log_mel.{name}" for name in alone.state_dict()}  # in checkpoints
    assert made(folders["ast"])[1].fitted  # there is no mel


def test_an_event_in_the_audio_moves_the_frames_of_its_time(tmp_path: Path) -> None:
    """Through the whole way, from the audio to the network's input, alone and beside convolutions."""
    folder = saved(tmp_path, "wav2vec2", extractor={"do_normalize": False}, feat_extract_norm="layer")
    quiet = audio_of(1) * 0.05
    for option_ in (Alone, Beside):
        _, front = made(folder, option_)
        for at in (0.15, 0.52, 0.85):
            loud = quiet.clone()
            loud[:, round((at - 0.02) * RATE) : round((at + 0.02) * RATE)] *= 60
            change = (front.mel(loud) - front.mel(quiet))[0, :, front.n_mels :].square().sum(1)
            assert abs(int(change.argmax()) - int(at / front.hop_seconds)) <= 1


def method_of(model: nn.Module, feature: Any, **changed: Any) -> MeanTeacher:
    parts = Parts(feature, model, Binary(), CLASSES)
    optimizer = functools.partial(torch.optim.Adam, lr=1e-2)
    mixup = {"probability": 0.5, "alpha": 0.2, "labels": "soft"}
    values = {"rampup_epochs": 0, "consistency_max": 2.0, "ema_decay": 0.99, **changed}
    return MeanTeacher(parts, optimizer, mixup, teacher_train_mode=True, first_step_full_rate=True, **values)


def test_a_fine_tuned_encoder_has_a_rate_of_its_own_and_each_parameter_is_trained_once(
    folders: dict[str, Path],
) -> None:
    method = method_of(*made(folders["ast"], Beside, frozen=False, encoder_lr=1e-5))
    head, own = method.parameter_groups()
    optimizer = method.make_optimizer([head, own])
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-5]
    assert method.student.encoder is not None
    assert {id(p) for p in own["params"]} == {id(p) for p in method.student.encoder.parameters()}
    both = [id(p) for p in (*head["params"], *own["params"])]
    assert sorted(both) == sorted(id(p) for p in method.student.parameters())
    assert method.student.encoder.training  # its dropout too
    assert isinstance(method_of(*made(folders["ast"])).parameter_groups()[0], nn.Parameter)  # frozen: no groups


def test_train_layers_leaves_the_layers_below_as_they_are(folders: dict[str, Path]) -> None:
    method = method_of(*made(folders["wav2vec2"], frozen=False, train_layers=1))
    _, own = method.parameter_groups()
    assert method.student.encoder is not None
    names = {name for name, p in method.student.encoder.named_parameters() if any(p is one for one in own["params"])}
    assert names
    assert all(".encoder.layers.1." in name for name in names)


def test_a_frozen_encoder_is_in_no_copy_and_no_checkpoint_but_in_the_detector(folders: dict[str, Path]) -> None:
    model, front = made(folders["ast"])
    method = method_of(model, front)
    method.train()
    (encoder,) = front._encoder
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    own = {id(p) for p in encoder.parameters()}
    assert not own & {id(p) for p in method.parameters()}
    assert not any("network" in name for name in method.state_dict())
    state = method.detector_state()
    assert sum("network" in name for name in state) == len(encoder.encoder.network.state_dict())
    # Made again from its description, without any file of the encoder's.
    again = Alone(2, RATE, LogMel(), "gone", description=front.description)
    other = method_of(again, again.take_front_end())
    other.load_detector_state(state)
    x = audio_of()
    torch.testing.assert_close(other.eval().feature(x), method.eval().feature(x), rtol=0, atol=0)


def corpus_of(folder: Path) -> Corpus:
    """Six clips, one shorter than the others, strong, weak and unlabelled ones."""
    rng, clips = np.random.default_rng(0), []
    for number in range(6):
        path, seconds = folder / f"clip{number}.wav", SECONDS - 0.3 * (number == 1)
        write_audio(path, rng.normal(0, 0.1, round(RATE * seconds)), RATE)
        clips.append(Clip(path.stem, path, seconds, (Event(0.2, 0.6, CLASSES[number % 2]),), None, True))
    return Corpus("made", CLASSES, SECONDS, RATE, {"synthetic": ClipFiles(clips, RATE, SECONDS)}, "f" * 64)


def data_of(corpus: Corpus, n_frames: int, hop: float) -> SedData:
    rest: dict[str, Any] = {"epoch": "smallest", "per_class": False, "max_clips_per_device": None, "workers": 0}
    return SedData(corpus, {"synthetic": 3}, n_frames, hop, [], [], seed=0, evaluation=3, **rest)


def trained(folder: Path, corpus: Corpus, cache: Path | None, calls: list[int], epochs: int = 2, **changed: Any) -> Any:
    """A method after ``epochs`` of training; of each, the clips that the encoder saw."""
    model, front = made(folder, **changed)
    method = method_of(model, front)
    data = data_of(corpus, model.frames(front.n_frames), front.hop_seconds * model.time_pooling)
    if cache is not None:
        use_cached_features(option("feature/log_mel_small"), data, method, cache, "cpu:0", True)
    seen: list[int] = []
    before = len(calls)

    class Count(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append(sum(calls[before:]) - sum(seen))

    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    quiet |= {"enable_model_summary": False, "limit_val_batches": 0}
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[Count()], **quiet)
    trainer.fit(method, data)
    return method, seen


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Clips of each forward pass of an encoder."""
    seen: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, audio: torch.Tensor) -> torch.Tensor:
        seen.append(len(audio))
        return forward(self, audio)

    monkeypatch.setattr(Encoder, "forward", counted)
    return seen


def test_kept_embeddings_train_the_same_weights_without_the_encoder(
    folders: dict[str, Path], tmp_path: Path, calls: list[int]
) -> None:
    corpus, cache = corpus_of(tmp_path), tmp_path / "cache"
    plain, seen = trained(folders["wav2vec2"], corpus, None, calls, option=Beside)
    assert seen == [6, 6]
    calls.clear()
    kept, seen = trained(folders["wav2vec2"], corpus, cache, calls, option=Beside)
    assert (sum(calls), seen) == (6, [0, 0])  # each clip once, before the first epoch
    for name, value in plain.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name]), name


def test_embeddings_are_computed_once_and_not_for_other_weights_or_grids(
    folders: dict[str, Path], tmp_path: Path, calls: list[int]
) -> None:
    corpus, cache, settings = corpus_of(tmp_path), tmp_path / "cache", option("feature/log_mel_small")
    other = saved(tmp_path / "other", "wav2vec2", seed=7)
    for folder, changed, computed in (
        (folders["wav2vec2"], {}, 6),
        (folders["wav2vec2"], {"dropout": 0.1}, 0),
        (folders["wav2vec2"], {"frame_seconds": 0.1}, 6),
        (other, {}, 6),
    ):
        calls.clear()
        method, data = method_of(*made(folder, **changed)), data_of(corpus, 16, 0.064)
        use_cached_features(settings, data, method, cache, "cpu", True)
        assert sum(calls) == computed, changed


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
def test_fine_tuning_moves_the_encoder_and_the_teacher_follows(
    folders: dict[str, Path], tmp_path: Path, kind: str, calls: list[int]
) -> None:
    method, seen = trained(folders[kind], corpus_of(tmp_path), None, calls, epochs=1, frozen=False, encoder_lr=1e-3)
    assert seen == [12]  # of student and teacher
    untrained, _ = made(folders[kind], frozen=False)
    start = dict(untrained.named_parameters())
    moved = {name: (p - start[name]).abs().max().item() for name, p in method.student.named_parameters()}
    still = [name for name, by in moved.items() if by == 0 and start[name].requires_grad]
    assert still == []
    assert max(by for name, by in moved.items() if name.startswith("encoder.")) <= 2.1e-3  # two steps of Adam
    assert max(moved.values()) > 1e-2
    teacher = dict(method.teacher.named_parameters())
    assert any(not torch.equal(teacher[name], start[name]) for name in start if name.startswith("encoder."))


def test_the_samples_of_a_fine_tuned_encoder_are_not_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    method, data = method_of(*made(folders["ast"], frozen=False)), data_of(corpus_of(tmp_path), 16, 0.064)
    with pytest.raises(
        InputError, match=r"batch.cache_features=true: this front end works on the waveform itself; set"
    ):
        use_cached_features(option("feature/log_mel_small"), data, method, tmp_path, "cpu", True)


def test_values_that_do_not_go_together_are_refused_before_data_is_read(folders: dict[str, Path]) -> None:
    given: dict[str, Any] = {"encoder": str(folders["ast"]), "download": False, "frozen": True}
    for changed, said in (
        ({"encoder_lr": 0.0, "train_layers": None}, "model.encoder_lr=0.0 must be above 0"),
        ({"encoder_lr": 1e-5, "train_layers": 2}, "model.train_layers=2 with model.frozen=true: give at least 1 and"),
        ({"encoder_lr": 1e-5, "train_layers": 0, "frozen": False}, "model.train_layers=0 with model.frozen=false"),
        ({"encoder_lr": 1e-5, "train_layers": None, "encoder": "gone"}, "model.encoder=gone is neither a folder"),
    ):
        with pytest.raises(InputError, match=said):
            Pretrained.check(**{**given, **changed})
    Pretrained.check(**given, encoder_lr=1e-5, train_layers=None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frame_seconds": 0.0}, "model.frame_seconds=0.0 does not fit clips of 1 s"),
        ({"frame_seconds": 2.0}, "model.frame_seconds=2.0 does not fit clips of 1 s"),
        ({"dropout": 1.0}, r"model.dropout=1.0 must be in \[0, 1\)"),
        ({"attention_over": "time"}, "model.attention_over='time' is unknown"),
    ],
)
def test_bad_values_are_named(folders: dict[str, Path], changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(folders["ast"], **changed)


def test_clips_longer_than_an_encoder_takes_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"clips of 2 s are longer than the 1.28 s that model.encoder=.* takes; use a"):
        Alone(2, 2 * RATE, LogMel(), str(folders["ast"]))


def test_assembly_gives_the_method_the_networks_front_end_and_its_grid(folders: dict[str, Path]) -> None:
    config: dict[str, Any] = {
        "feature": option("feature/log_mel_small"),
        "model": {**option("model/pretrained"), "encoder": str(folders["ast"])},
        "loss": option("loss/bce"),
        "method": option("method/park2022"),
        "decoder": option("decoder/default"),
    }
    assembly = assemble(config, Facts(CLASSES, SECONDS), seed=0)
    assert isinstance(assembly.method.feature, EncoderFrontEnd)
    assert (assembly.frame_hop, assembly.n_frames) == (0.064, 16)
    predicted = assembly.method.predict(type("Input", (), {"waveform": audio_of(), "feature": None})())
    shapes: Sequence[Any] = [one.frame.shape for one in predicted.values() if one.frame is not None]
    assert shapes == [(3, 16, 2)] * 2
