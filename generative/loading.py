"""Trained models from a run folder, a checkpoint or a folder with a model, on this machine or under a URL."""

import functools
import hashlib
import json
from pathlib import Path

import torch

from generative import checkpoint, models
from generative.checkpoint import Store
from generative.config import TrainConfig, from_json
from generative.model import PictureModel

_ODD = (KeyError, TypeError, ValueError, AttributeError, RecursionError, RuntimeError, OverflowError)
"""What a JSON file that somebody else wrote can lead to."""


def load(path: str | Path, device: str = "cpu") -> PictureModel:
    """The model, with its averaged weights, ready to sample: model.sample(...), model.denoise(...), and of a VDM
    model.elbo(...).

    Args:
        path: a run folder or URL (its newest checkpoint; of a chain its last student), a folder of checkpoints, one
            checkpoint, or a folder with model.json and model.safetensors.
    Raises: ValueError in one sentence if there is no model, or its files are damaged. Nothing is unpickled.
    """
    return read(*files(path), str(path), device)


def files(path: str | Path) -> tuple[bytes, bytes]:
    """The bytes of model.json and model.safetensors of what `load` takes. Raises ValueError as `load`."""
    try:
        return _found(path)
    except (ValueError, OSError):
        raise
    except Exception as error:  # each kind of URL has a library of its own, which raises what it likes
        raise ValueError(f"{path} cannot be read: {checkpoint.why(error)}") from None


def _found(path: str | Path) -> tuple[bytes, bytes]:
    store = Store(path)
    for name in ("model.json", "model.safetensors", checkpoint.MANIFEST, "chain.json", "config.json"):
        if store.is_local and (Path(store.root) / name).exists() and not (Path(store.root) / name).is_file():
            raise ValueError(f"{store.root}/{name} is no regular file")  # a pipe would keep us waiting
    if store.fs.exists(f"{store.root}/model.json"):
        return _files(store)
    if (student := _last_student(store)) is not None:
        place, expected = student
        if digest(*(data := files(f"{path}/{place}"))) != expected:
            raise ValueError(f"the model in {path}/{place} is not the one that {path}/chain.json names")
        return data
    config = _run_config(store)
    places = [Store(config.storage)] if config and config.storage else []
    for place in (*places, Store(f"{path}/checkpoints"), store):
        if (step := place.newest()) is not None:
            return place.read(step, "model.json"), place.read(step, "model.safetensors")
    if store.is_local and (runs := sorted(Path(store.root).glob("*/checkpoints"))):
        raise ValueError(f"{path} holds no model but folders that may: name one, such as {runs[-1].parent}")
    raise ValueError(f"{path} holds no model: no model.json and no whole checkpoint (a run writes one every minute)")


def digest(about: bytes, weights: bytes) -> str:
    """A name for a model's two files."""
    return hashlib.sha256(hashlib.sha256(about).digest() + hashlib.sha256(weights).digest()).hexdigest()


def read(about: bytes, weights: bytes, where: str, device: str = "cpu") -> PictureModel:
    """A model from the bytes of model.json and model.safetensors. Raises ValueError."""
    tensors = checkpoint.unpack(weights, f"model.safetensors of {where}")
    try:
        meta = json.loads(about)
        config, shape = from_json(meta["config"]), tuple(int(n) for n in meta["shape"])
        meta |= {
            "classes": list(map(str, meta["classes"])),
            "step": int(meta["step"]),
            "num_levels": int(meta["num_levels"]),
        }
        if not 0 <= meta["step"] < 2**48:
            raise ValueError(f"step {meta['step']:.3g} is none")
        if len(shape) != 3 or not 1 <= min(shape) <= max(shape) <= 2**16:
            raise ValueError(f"shape {shape} is not (channels, height, width)")
        if config.model.net.blocks > len(tensors):  # a network without end
            raise ValueError(f"{config.model.net.blocks} blocks do not fit {len(tensors)} tensors")
        with torch.device("meta"):  # sizes are compared before any memory is taken, and no random numbers are drawn
            model = models.make(config.model, shape, meta["num_levels"])
    except _ODD as error:
        raise ValueError(f"model.json of {where} does not describe a model: {str(error)[:300] or error!r}") from None
    put = functools.partial(model.load_state_dict, assign=True)
    checkpoint.load_into(put, model.state_dict(), tensors, f"model.safetensors of {where}")
    if not all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point()):
        raise ValueError(f"{where} holds no model of use: its weights are no finite numbers")
    model.meta = meta
    return model.to(device).eval().requires_grad_(False)


def _files(store: Store) -> tuple[bytes, bytes]:
    """model.json and model.safetensors of a folder; checked against the manifest where there is one."""
    names = ("model.json", "model.safetensors")
    if store.fs.exists(f"{store.root}/{checkpoint.MANIFEST}"):
        about, weights = (checkpoint.read(store.fs, store.root, name) for name in names)
        return about, weights
    try:
        about, weights = (store.fs.cat_file(f"{store.root}/{name}") for name in names)
    except OSError as error:
        raise ValueError(f"{store.root} is not a whole model: {error}") from None
    return about, weights


def _last_student(store: Store) -> tuple[str, str] | None:
    """Where the last finished student lies in the folder of a chain (generative/chain.py), and the digest that it has
    there; None in other folders."""
    path = f"{store.root}/chain.json"
    if not store.fs.exists(path):
        return None
    try:
        done = [(str(row["stage"]), row["sha256"]) for row in json.loads(store.fs.cat_file(path))["stages"]]
    except (OSError, *_ODD) as error:
        raise ValueError(f"{path} cannot be read as a chain: {checkpoint.why(error)}") from None
    if not done or not done[-1][0].isalnum():
        raise ValueError(f"{store.root} is a chain without a finished student")
    return f"stages/{done[-1][0]}", done[-1][1]


def _run_config(store: Store) -> TrainConfig | None:
    path = f"{store.root}/config.json"
    if not store.fs.exists(path):
        return None
    try:
        return from_json(json.loads(store.fs.cat_file(path))["config"])
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None  # another half's run, or another version's: what decides is whether there is a model
