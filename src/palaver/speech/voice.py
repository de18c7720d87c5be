"""The voice of a server: it hears all calls with one detector, and answers each of them."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from palaver.engine.engine import Engine
from palaver.errors import ProviderError
from palaver.observability.metrics import Registry
from palaver.protocols.asp.call import Call, CallListener
from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.session import Applied
from palaver.providers.interfaces import SpeechToText, TextToSpeech
from palaver.speech.batch import Batch, Ear, OnHeard
from palaver.speech.engines import open_detector
from palaver.speech.metrics import VoiceMetrics
from palaver.speech.open import Engines
from palaver.speech.options import VoiceOptions
from palaver.speech.studio import Studio
from palaver.speech.turns import BackchannelFilter, TurnMachine
from palaver.speech.voice_call import VoiceCall
from palaver.speech.windows import RATES_HZ

__all__ = ["Voice"]

_log = structlog.get_logger("palaver.voice")
_FALLBACK: Final = "energy"


class Voice:
    """Answers calls with ``engines`` of speech, and the agents of ``engine``.

    ``default_agent`` answers where a call names none; ``detector`` is one of
    ``palaver.speech.engines.DETECTORS``. Engines and detectors are made ready when the first call
    comes: who serves no calls pays nothing for them. ``close`` at the end.
    """

    def __init__(
        self,
        engine: Engine,
        default_agent: str,
        engines: Engines,
        *,
        registry: Registry,
        options: VoiceOptions = VoiceOptions(),  # noqa: B008 # frozen
        detector: str = "silero",
        is_backchannel: BackchannelFilter | None = None,
    ) -> None:
        self.options: Final = options
        self._default_agent = default_agent
        self._is_backchannel = is_backchannel
        self._detector = detector
        self._metrics = VoiceMetrics(registry)
        self._studio = Studio(engine, engines.hears, engines.speaks, options, self._metrics)
        self._engines = engines
        self._batch: Batch | None = None
        self._calls: set[VoiceCall] = set()
        self._closed_calls: set[asyncio.Task[None]] = set()
        self._opening: list[asyncio.Task[None]] = []

    def open(self) -> Batch:
        """Make detectors ready, and engines in the background; more than once does nothing.

        Raises:
            ConfigError: the detector is not installed.

        """
        if self._batch is None:
            self._batch = Batch(
                {rate_hz: open_detector(self._detector, rate_hz) for rate_hz in RATES_HZ},
                {rate_hz: open_detector(_FALLBACK, rate_hz) for rate_hz in RATES_HZ},
                on_fallback=self._count_fallback,
            )
            for name, engine in (("hears", self._studio.hears), ("speaks", self._studio.speaks)):
                task = asyncio.create_task(self._open(name, engine), name=f"voice-{name}")
                self._opening.append(task)
        return self._batch

    async def close(self) -> None:
        """Stop all answers, and the engines."""
        for call in tuple(self._calls):
            call.answers.close()
        await asyncio.gather(*(call.answers.settled() for call in tuple(self._calls)))
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, *self._closed_calls, return_exceptions=True)
        if self._batch is not None:
            self._batch.close()
        await self._engines.close()

    def answer(self, call: Call) -> CallListener:
        """Return who answers a call."""
        session, batch = call.session, self.open()

        def open_ear(on_heard: OnHeard) -> Ear:
            config = session.config
            return batch.open(session.id, config.audio, config.vad, on_heard)

        voice_call = VoiceCall(
            call,
            self._studio,
            open_ear,
            TurnMachine(is_backchannel=self._is_backchannel),
            default_agent=self._default_agent,
            on_closed=self._forget,
        )
        self._calls.add(voice_call)
        return voice_call

    def hurry(self) -> None:
        """Judge what calls have said, where that is enough: no more will come for a while."""
        if self._batch is not None:
            self._batch.hurry()

    def configure(self, session_id: str, config: NegotiatedConfig) -> Applied:
        """Tell what is run for a configuration.

        Raises:
            Rejection: 3003, it cannot be run.

        """
        wrong = [*config.audio.validate(), *config.vad.validate()]
        if wrong:
            error = protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, "; ".join(wrong))
            raise Rejection(error, session_id)
        # The ear takes these values as they are: it has no others of its own.
        return Applied(config.audio, config.vad)

    def _count_fallback(self, session_id: str, fallen: bool) -> None:  # noqa: FBT001 # a callback
        del session_id  # the batch says in the log which
        if fallen:
            self._metrics.fallbacks.inc()

    def _forget(self, call: VoiceCall) -> None:
        self._calls.discard(call)
        task = asyncio.create_task(call.answers.settled(), name="voice-call-closes")
        self._closed_calls.add(task)
        task.add_done_callback(self._closed_calls.discard)

    async def _open(self, name: str, engine: SpeechToText | TextToSpeech) -> None:
        try:
            await engine.open()
        except ProviderError as error:
            _log.error("voice_engine_unavailable", engine=name, error=str(error))
        except Exception:  # noqa: BLE001 # whatever a vendor's library raises: calls go on
            _log.exception("voice_engine_broke", engine=name)
