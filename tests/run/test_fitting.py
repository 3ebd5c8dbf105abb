"""What a run says of the numbers it is to compute with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from sed_lab.run import fitting
from tests.configured import configured


@pytest.mark.parametrize(
    ("flags", "has"), [("fma avx2", False), ("avx512f avx512_bf16", True), ("amx_bf16 amx_tile", True)]
)
def test_a_processor_that_multiplies_bfloat16_is_known(flags: str, has: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: a bf16_like name\nflags\t\t: fpu {flags} sse2\n")
    assert fitting.has_bfloat16(tmp_path / "cpuinfo") is has
    assert fitting.has_bfloat16(tmp_path / "none")


@pytest.mark.parametrize(
    ("precision", "has", "said"), [("bf16-mixed", False, True), ("bf16-mixed", True, False), ("32-true", False, False)]
)
def test_a_processor_without_bfloat16_is_named(
    precision: str,
    has: bool,
    said: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fitting, "has_bfloat16", lambda: has)
    words = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "check_val_every_n_epoch": 1, "precision": precision}
    cfg = OmegaConf.create({
        "trainer": {"_target_": "pytorch_lightning.Trainer", **words},
        "batch": {"clips": {"strong": 4}}, "tune_on": None, "metric": {"zero_score": True},
    })  # fmt: skip
    data = SimpleNamespace(accumulation=lambda world: 1)
    fitting.build_trainer(cfg, tmp_path, [], data, configured("decoder/plain")(), [])  # type: ignore[arg-type]
    assert ("no instructions for bfloat16" in capsys.readouterr().out) is said
