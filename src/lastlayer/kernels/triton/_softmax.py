"""Softmax and log_softmax along any axis."""

from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from lastlayer.kernels._options import Options
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import log_softmax as eager_log_softmax
from lastlayer.kernels.eager import softmax as eager_softmax
from lastlayer.kernels.triton import _softmax_kernels as kernels
from lastlayer.kernels.triton._arithmetic import bits
from lastlayer.kernels.triton._cross_entropy import problem, rows_of
from lastlayer.kernels.triton._cross_entropy_kernels import parts_of_rows
from lastlayer.kernels.triton._launch import FUSION, on_device, splits_for


def softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """exp(uⱼ) / Σₖ exp(uₖ) along `dim`, of u = z / temperature."""
    return _autograd.apply(_SOFTMAX, z, dim, temperature)[0]


def log_softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """The logarithm of softmax."""
    return _autograd.apply(_LOG_SOFTMAX, z, dim, temperature)[0]


def _forward(z: Tensor, dim: int, temperature: float, log: bool) -> tuple[tuple[Tensor], tuple[Tensor, ...]]:
    if z.numel() == 0:
        return (torch.empty_like(z),), ()
    last = _last(z, dim)
    flat = rows_of(last)
    rows, classes = flat.shape
    # Without a target: the part of a cross-entropy that reads the logits.
    p = problem(flat, flat.new_empty(0, dtype=torch.int64), None, Options(z.dtype, temperature=temperature))
    result = torch.empty(flat.shape, dtype=z.dtype, device=z.device)
    kept = z.new_empty(3, rows, dtype=torch.float64)
    outputs = {"result": result, "result_stride": result.stride(0), "kept": kept, "LOG": log}
    splits = splits_for(rows, classes, p.tile, z.device)
    programs = triton.cdiv(rows, p.tile.R)
    with on_device(z):
        if splits == 1:
            kernels.whole_rows[(programs,)](**_arguments(flat, temperature, p.kind, p.tile), **outputs)
        else:
            parts = z.new_empty(5, rows, splits, dtype=torch.float64)
            share = triton.cdiv(triton.cdiv(classes, splits), p.tile.classes) * p.tile.classes
            parts_of_rows[(programs, splits)](**p.arguments(), parts=parts, share=share)
            tiles = triton.cdiv(classes, p.tile.classes)
            kernels.tiles_of_rows[(programs * tiles,)](
                **_arguments(flat, temperature, p.kind, p.tile), **outputs, parts=parts, tiles=tiles, SPLITS=splits
            )
    return (_back(result.reshape(last.shape), z, dim),), (kept,)


def _backward(
    gradients: tuple[Tensor], kept: tuple[Tensor, ...], z: Tensor, dim: int, temperature: float, log: bool
) -> Tensor:
    if z.numel() == 0:
        return torch.empty_like(z)
    last = _last(z, dim)
    flat, upstream = rows_of(last), rows_of(_last(gradients[0], dim))
    p = problem(flat, flat.new_empty(0, dtype=torch.int64), None, Options(z.dtype, temperature=temperature))
    result = torch.empty(flat.shape, dtype=z.dtype, device=z.device)
    with on_device(z):
        kernels.backward[(triton.cdiv(flat.shape[0], p.tile.R),)](
            **_arguments(flat, temperature, p.kind, p.tile),
            upstream=upstream,
            upstream_stride=upstream.stride(0),
            result=result,
            result_stride=result.stride(0),
            kept=kept[0],
            LOG=log,
        )
    return _back(result.reshape(last.shape), z, dim)


def _arguments(flat: Tensor, temperature: float, kind: int, tile: Any) -> dict[str, Any]:
    return {
        "logits": flat,
        "row_stride": flat.stride(0),
        "rows": flat.shape[0],
        "classes": flat.shape[1],
        "temperature_bits": bits(temperature),
        "KIND": kind,
        "HAS_TEMPERATURE": temperature != 1.0,
        **tile._asdict(),
        **FUSION,
    }


def _last(x: Tensor, dim: int) -> Tensor:
    return x.reshape(1) if x.dim() == 0 else x.movedim(dim, -1)


def _back(x: Tensor, z: Tensor, dim: int) -> Tensor:
    return x.movedim(-1, dim) if z.dim() else x.reshape(())


def _rule(formula: Any, log: bool) -> _autograd.Rule:
    return _autograd.Rule(
        lambda z, dim, temperature: (formula(z, dim, temperature),),
        partial(_forward, log=log),
        partial(_backward, log=log),
        "log_softmax" if log else "softmax",
    )


_SOFTMAX, _LOG_SOFTMAX = _rule(eager_softmax, False), _rule(eager_log_softmax, True)
