"""Making a model traceable for a while, without changing what it computes."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import nn
from torch.fx import _symbolic_trace
from torch.nn import functional
from torch.nn.modules import transformer

_PER_PROCESS: Final = threading.RLock()
_LOGGERS: Final = ("torch.fx.experimental.symbolic_shapes", "torch._dynamo", "torch.export", "torch._export")


@contextlib.contextmanager
def plain(model: nn.Module) -> Iterator[None]:
    """Inside, nothing is fused or learned, and the tracer's warnings are kept from the user.

    One thread at a time: torch keeps the switch for fused attention, Python that for warnings, per process.
    """
    attention = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_PER_PROCESS)
        stack.enter_context(torch.no_grad())
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))  # torch.export prints what it could not finish
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            stack.enter_context(_quiet(logging.getLogger(name)))
        stack.enter_context(unfused())
        stack.enter_context(_unnoticed_by_other_threads())
        stack.enter_context(_replaced(transformer, "_detect_is_causal_mask", _told_causal))
        for module in attention:
            stack.enter_context(_replaced(module, "forward", functools.partial(attend, module)))
        yield


@contextlib.contextmanager
def _unnoticed_by_other_threads() -> Iterator[None]:
    """Inside, what a tracer puts in the place of ``nn.Module``'s methods acts in this thread alone.

    torch replaces them for the whole process, so a model that another thread runs meanwhile would end up in the trace.
    """
    patch, tracing = _symbolic_trace._Patcher.patch_method, threading.get_ident()

    def patch_method(patcher: Any, owner: type, name: str, new: Callable[..., Any], deduplicate: bool = True) -> None:
        before = getattr(owner, name)

        @functools.wraps(new)
        def chosen(*args: Any, **keywords: Any) -> Any:
            return (new if threading.get_ident() == tracing else before)(*args, **keywords)

        patch(patcher, owner, name, chosen, deduplicate)

    _symbolic_trace._Patcher.patch_method = patch_method  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        _symbolic_trace._Patcher.patch_method = patch  # type: ignore[method-assign]


def _told_causal(mask: torch.Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    """torch looks at a mask's numbers to find out whether a faster kernel fits it, which no tracer can follow."""
    return bool(is_causal)


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Inside, attention layers compute every position: fused ones give zeros for those that a mask leaves out."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Inside, ``owner`` has ``value`` as an attribute of its own."""
    own = vars(owner)
    before = {name: own[name]} if name in own else {}
    own[name] = value
    try:
        yield
    finally:
        del own[name]
        own.update(before)


def attend(
    module: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What ``module(query, …)`` gives, with the rows in front throughout: the original moves them about."""
    masks_by_head = attn_mask is not None and attn_mask.dim() == 3
    if query.dim() != 3 or masks_by_head or module.bias_k is not None or module.add_zero_attn:
        return nn.MultiheadAttention.forward(
            module, query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
        )
    projected = _projected(module, query, key, value)
    if not module.batch_first:
        projected = [each.transpose(0, 1) for each in projected]
    query, key, value = (  # [R, H, T, D]
        each.reshape(*each.shape[:2], module.num_heads, -1).transpose(1, 2) for each in projected
    )
    mask = _mask(attn_mask, key_padding_mask, query.dtype)
    mixed = functional.scaled_dot_product_attention(query, key, value, mask)
    out = functional.linear(mixed.transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)
    if not module.batch_first:
        out = out.transpose(0, 1)
    if not need_weights:
        return out, None
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    shares = (scores if mask is None else scores + mask).softmax(-1)  # [R, H, T, S]
    return out, shares.mean(1) if average_attn_weights else shares


def _projected(
    module: nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> list[torch.Tensor]:
    if module.in_proj_weight is not None and query is key is value:
        return list(functional.linear(query, module.in_proj_weight, module.in_proj_bias).chunk(3, -1))
    if module.in_proj_weight is not None:
        weights = list(module.in_proj_weight.chunk(3))
    else:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    return [functional.linear(*each) for each in zip((query, key, value), weights, biases, strict=True)]


def _mask(
    attention: torch.Tensor | None, padding: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor | None:  # [T, S] or [R, 1, 1 or T, S], added to the scores
    masks = [attention, None if padding is None else padding[:, None, None]]
    added = [_added(mask, dtype) for mask in masks if mask is not None]
    return sum(added[1:], added[0]) if added else None


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """True leaves a key out in a mask of truth values."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf) if mask.dtype is torch.bool else mask


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, those that are not saved and those with several names too."""
    parameters = model.named_parameters(remove_duplicate=False)
    return dict(parameters) | dict(model.named_buffers(remove_duplicate=False))
