"""Where a pretrained encoder's files lie, what they say, and their weights: read, never run, never fetched unasked.

A folder holds ``config.json``, ``preprocessor_config.json`` and ``*.safetensors``, as the transformers library saves
them and the Hugging Face hub keeps them. Pickled weights and code that lies beside them are left alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from sed_lab.errors import InputError
from sed_lab.model.pretrained_encoder import KINDS, library, network_class, plain, quietened


def find(encoder: str, download: bool) -> Path:
    """The folder of an encoder's files: ``encoder`` itself, or the local Hugging Face cache's of that name.

    With ``download`` what the cache lacks is fetched: JSON and safetensors files, nothing else.

    Raises:
        InputError: the library is not installed, or there are no such files.
    """
    library()
    folder = Path(encoder)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        files = ["*.json", "*.safetensors"]
        return Path(snapshot_download(encoder, local_files_only=not download, allow_patterns=files))
    except (OSError, ValueError, RuntimeError) as error:  # the library's own errors are all of these
        if download:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"model.encoder={encoder} could not be downloaded: {reason}; check name and network"
            ) from None
        raise InputError(
            f"model.encoder={encoder} is neither a folder nor in the local Hugging Face cache; fetch it with"
            f" `hf download {encoder}`, or let model.download=true do it"
        ) from None


def describe(folder: Path) -> str:
    """What makes the encoder in ``folder`` again, beside its weights: a JSON text of ``config`` and ``extractor``.

    Raises:
        InputError: a file is missing or damaged, or the encoder is of a kind that sed_lab does not know.
    """
    config = _json(folder / "config.json")
    if config.get("model_type") == "clap":  # with its text encoder, which is not needed
        config = {**config.get("audio_config", {}), "model_type": "clap_audio_model"}
    if config.get("model_type") not in KINDS:
        raise InputError(
            f"{folder}: an encoder of type {config.get('model_type')} cannot be used; use AST, Wav2Vec2, HuBERT, WavLM"
            f" or CLAP ({', '.join(KINDS)})"
        )
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder} holds no weights as .safetensors, the only ones that are read; where you trust its other files,"
            " write them with the library's from_pretrained(...).save_pretrained(FOLDER)"
        )
    both = folder / "processor_config.json"
    if (folder / "preprocessor_config.json").is_file() or not both.is_file():
        extractor = _json(folder / "preprocessor_config.json")
    else:
        extractor = _json(both).get("feature_extractor", {})
    kept = plain(config)
    return json.dumps({"config": kept, "extractor": _complete(extractor, kept["model_type"], folder)}, sort_keys=True)


def _complete(extractor: dict[str, Any], model_type: str, folder: Path) -> dict[str, Any]:
    """The extractor's settings, those that its file leaves out as the library's class has them."""
    spoken = {"audio-spectrogram-transformer": "ASTFeatureExtractor", "clap_audio_model": "ClapFeatureExtractor"}
    made = getattr(library(), spoken.get(model_type, "Wav2Vec2FeatureExtractor"))
    try:
        return json.loads(made.from_dict(extractor).to_json_string())
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: its feature extractor's settings cannot be used ({error}); fetch it again"
        ) from None


def load_network(folder: Path, description: str) -> Any:
    """The library's network with the weights in ``folder``, float32, in evaluation mode.

    Raises:
        InputError: the weights cannot be read, or some that the network needs are missing.
    """
    config, whole = json.loads(description)["config"], _json(folder / "config.json")
    if clap := whole["model_type"] == "clap":
        kind, settings = library().ClapModel, library().ClapConfig.from_dict(plain(whole))
    else:
        kind, settings = network_class(config["model_type"]), quietened(config)
    given = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        network, found = kind.from_pretrained(folder, config=settings, **given)
    except Exception as error:  # damaged files can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: its weights cannot be read ({reason}); fetch or save them again") from None
    lacking = sorted(name for name in found["missing_keys"] if "masked_spec_embed" not in name)
    lacking += sorted(map(str, found["mismatched_keys"]))
    if lacking:
        raise InputError(
            f"{folder}: its weights lack {lacking[0]}{' and others' * (len(lacking) > 1)}, which would be random; use"
            " files that were saved from the whole encoder"
        )
    return (network.audio_model if clap else network).eval()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} has no {path.name}; give a folder as the transformers library saves it"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); fetch or save it again") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no settings; fetch or save it again")
    return found
