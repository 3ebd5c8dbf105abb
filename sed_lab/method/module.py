"""What a method is made of: Lightning's module, or in a process that only predicts, the plain network within it.

Importing Lightning takes seconds and some 270 MB, of which detecting events needs nothing.
"""

from __future__ import annotations

import sys
from itertools import chain

import torch
from torch import nn

BASE = "sed_lab.method.base"
_plain: list[bool] = []


class PlainNetwork(nn.Module):
    """In place of Lightning's module: it predicts, and cannot be trained."""

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next(chain(self.parameters(), self.buffers())).device


def only_predicts() -> None:
    """Make the methods of this process without Lightning; for a program that trains nothing, before any is imported."""
    assert BASE not in sys.modules
    _plain.append(True)


def module_class() -> type[nn.Module]:
    """What methods derive from."""
    if _plain:
        return PlainNetwork
    from pytorch_lightning import LightningModule

    return LightningModule
