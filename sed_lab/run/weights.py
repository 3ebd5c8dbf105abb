"""A detector's weights in a file: ``detector.ckpt`` of a run, ``detector.safetensors`` of an exported one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_lab.errors import InputError
from sed_lab.files import replacing

if TYPE_CHECKING:
    import torch

CHECKPOINT, EXPORTED = "detector.ckpt", "detector.safetensors"
MISSING = "needs safetensors; install it with pip install 'sed_lab[export]'"


def weights_file(folder: Path) -> Path | None:
    """Where the weights of a run, or of an exported detector, lie; None where there are none."""
    return next((folder / name for name in (CHECKPOINT, EXPORTED) if (folder / name).exists()), None)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    """The detector's state by name, on the CPU, and the description of its pretrained encoder, None without one.

    Neither form can hold code that would run, see `sed_lab.run.checkpoint.read_weights`.

    Raises:
        InputError: safetensors is not installed, or the file is not what its name says.
    """
    if path.suffix != ".safetensors":
        from sed_lab.run import checkpoint

        return checkpoint.read_weights(path)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(f"{path} {MISSING}") from None
    try:
        with safe_open(path, framework="pt") as file:
            encoder = json.loads((file.metadata() or {}).get("encoder", "null"))
            if not isinstance(encoder, str | None):
                raise ValueError("its encoder is no description")
            return {name: file.get_tensor(name) for name in file.keys()}, encoder  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); export the run again") from None


def write_safetensors(path: Path, state: dict[str, torch.Tensor], encoder: Any) -> None:
    """Write what `read_weights` gives.

    Raises:
        InputError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise InputError(f"writing {path.name} {MISSING}") from None
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}  # none shares memory
    with replacing(path) as beside:
        save_file(own, beside, {"format": "pt", "encoder": json.dumps(encoder)})


def loss_of(make: Callable[[], Any], state: Mapping[str, Any]) -> Any:
    """A trained detector's loss: made at once where it has weights of its own in ``state``, else if it is asked for."""
    return make() if any(name.startswith("loss.") for name in state) else LossIfAsked(make)


class LossIfAsked:
    """A trained detector's loss, which is made when something asks for it: most methods predict without."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Any:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked for by libraries that only ask what it is
            raise AttributeError(name)
        return getattr(self._made, name)

    def __call__(self, *inputs: Any) -> Any:
        return self._made(*inputs)
