"""Calling a handler: four kinds of functions, one stream of outputs."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any, Final, TypeAlias, TypeVar, cast

from palaver.engine.agent import Handler
from palaver.engine.outputs import Output
from palaver.engine.turn import Turn

__all__ = ["call_handler"]

_Outputs: TypeAlias = AsyncGenerator[Output, None]
_T = TypeVar("_T")
_END: Final = object()


def call_handler(handler: Handler, turn: Turn, threads: Executor) -> _Outputs:
    """Return what ``handler`` puts out for ``turn``, as it comes.

    Generators and plain functions run in ``threads``. Closing the iterator closes the handler's
    generator; a thread that is under way cannot be stopped, only left behind.
    """
    if inspect.isasyncgenfunction(handler):
        return cast("_Outputs", handler(turn))
    if inspect.isgeneratorfunction(handler):
        return _from_generator(handler, turn, threads)
    return _from_function(handler, turn, threads)


async def _from_function(handler: Handler, turn: Turn, threads: Executor) -> _Outputs:
    result: Any
    if inspect.iscoroutinefunction(handler):
        result = await handler(turn)
    else:
        result = await _in_thread(threads, lambda: handler(turn))
    if inspect.isawaitable(result):
        result = await result
    if inspect.isasyncgen(result):
        async with aclosing(result) as items:
            async for item in items:
                yield cast("Output", item)
    elif inspect.isgenerator(result):
        async for item in _drain(cast("Iterator[Output]", result), threads):
            yield item
    elif result is not None:
        yield result


async def _from_generator(handler: Handler, turn: Turn, threads: Executor) -> _Outputs:
    generator = cast("Iterator[Output]", handler(turn))
    async for item in _drain(generator, threads):
        yield item


async def _drain(generator: Iterator[Output], threads: Executor) -> _Outputs:
    while True:
        item = await _in_thread(threads, lambda: next(generator, _END))
        if item is _END:
            return
        yield cast("Output", item)


async def _in_thread(threads: Executor, call: Callable[[], _T]) -> _T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, context.run, call)
