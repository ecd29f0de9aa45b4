"""Averages of what users hand over: torch tensors and jax arrays, in containers of every kind."""

import copy
import dataclasses
import pickle
import types
from typing import Any, NamedTuple

import numpy as np

from tests.support.signals import PATIENT
from wagma_rma import GroupAverager


class Layer(NamedTuple):
    """One of a user's containers."""

    weights: Any
    bias: Any


@dataclasses.dataclass(frozen=True)
class Network:
    """Another one."""

    layers: Any
    scale: Any


def described(model):
    """Return the containers, kinds, dtypes and values of a model as JSON."""
    kind = type(model).__name__
    if isinstance(model, Layer):
        return [kind, *map(described, model)]
    if dataclasses.is_dataclass(model):
        return [kind, described(model.layers), described(model.scale)]
    if isinstance(model, dict | types.MappingProxyType):
        return [kind, {key: described(model[key]) for key in model}]
    if isinstance(model, list | tuple):
        return [kind, *map(described, model)]
    return [kind, str(model.dtype), model.tolist()]


def every_kind(comm):
    """Return models before and after a group step of all, a synchronisation and steps in place."""
    import torch

    def model(value):
        parameter = torch.nn.Parameter(torch.full((2,), value))
        image = torch.full((1, 2, 1, 2), value).to(memory_format=torch.channels_last)
        layer = Layer(parameter, torch.full((1,), value, dtype=torch.bfloat16))
        mapping = types.MappingProxyType({"z": np.full(2, value), "image": image})
        return Network([layer, mapping], (torch.full((), value, dtype=torch.float64),))

    mine = model(float(comm.rank))
    with GroupAverager(
        comm, mine, group_size=comm.size, quorum=comm.size, sync_period=2, broadcast=False, timeout=PATIENT
    ) as averager:
        told = {"model": described(mine)}
        for name in ("group step", "synchronisation"):
            told[name] = described(averager.average(mine))
        told["left alone"] = described(mine)
        for name in ("group step in place", "synchronisation in place"):
            again = model(float(comm.rank))
            averager.average(again, out=again)
            told[name] = described(again)
    start = model(comm.rank + 3.0)
    with GroupAverager(comm, start, timeout=PATIENT):
        told["start of rank 0"] = described(start)
    return told


def moved(comm):
    """Return what a network's tensors hold that have moved since its averager was made."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3))

    def model():
        return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}

    with GroupAverager(
        comm, model(), group_size=comm.size, quorum=comm.size, broadcast=False, timeout=PATIENT
    ) as averager:
        network.to(memory_format=torch.channels_last)
        network.load_state_dict(
            {name: tensor.clone() for name, tensor in network.state_dict().items()}, assign=True
        )
        with torch.no_grad():
            for tensor in model().values():
                tensor.fill_(comm.rank)
        now = model()
        averager.average(now, out=now)
    return {name: sorted(set(tensor.flatten().tolist())) for name, tensor in model().items()}


def of_jax(comm):
    """Return the average of jax arrays, and what is said where they would be written."""
    import jax.numpy as jnp

    mine = {"w": jnp.full(3, float(comm.rank)), "h": jnp.full(2, comm.rank, jnp.bfloat16)}
    options = {"group_size": comm.size, "quorum": comm.size, "timeout": PATIENT}
    with GroupAverager(comm, mine, broadcast=False, **options) as averager:
        average = described(averager.average(mine))
        told = []
        try:
            averager.average(mine, out=mine)
        except ValueError as error:
            told.append(str(error))
    try:
        GroupAverager(comm, mine, **options)
    except ValueError as error:
        told.append(str(error))
    return average, told


def copies(comm):
    """Return what is said of copies of an averager."""
    told = []
    with GroupAverager(comm, np.zeros(3), timeout=PATIENT) as averager:
        for make in (copy.copy, copy.deepcopy, pickle.dumps, lambda it: copy.deepcopy({"held": it})):
            try:
                make(averager)
            except TypeError as error:
                told.append(str(error))
    return told
