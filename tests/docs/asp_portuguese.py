"""The generated parts of the ASP specification in Portuguese.

Each description of a member, error, limit and feature, as the code has it, and the same in
Portuguese: whoever changes one there says it here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["PORTUGUESE"]

PORTUGUESE: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Members of messages and objects.
        "Version of ASP": "Versão do ASP",
        "What a server takes; lists are in its order of preference": (
            "O que o servidor aceita; as listas estão na sua ordem de preferência"
        ),
        "Name of the server": "Nome do servidor",
        "Id of the session, chosen by the client": "Id da sessão, escolhido pelo cliente",
        "Id of the call": "Id da chamada",
        "The audio of a session, the same in both directions": (
            "O áudio da sessão, o mesmo nos dois sentidos"
        ),
        "Voice activity detection and endpointing, the same on both sides": (
            "Detecção de voz e de fim de fala, a mesma nos dois lados"
        ),
        "Anything; kept with the session": "Qualquer coisa; fica guardada com a sessão",
        "Version of ASP of the client": "Versão do ASP do cliente",
        "Features that it knows": "Recursos que o cliente conhece",
        "Audio in order of preference, in place of `audio`": (
            "Áudio em ordem de preferência, no lugar de `audio`"
        ),
        "What to do with audio that is not supported: nearest, or reject": (
            "O que fazer com áudio não suportado: usar o mais próximo, ou recusar"
        ),
        "How it came out": "O resultado",
        "What both run; left out where it was rejected": (
            "O que os dois usam; ausente quando houve recusa"
        ),
        "Why it was rejected": "Por que foi recusada",
        "Version that both use": "Versão que os dois usam",
        "Features that both know": "Recursos que os dois conhecem",
        "The session's number in `asp16`": "O número da sessão em `asp16`",
        "Digest of the configuration that the sender runs": (
            "Digest da configuração que o remetente usa"
        ),
        "What the session can be resumed with": "Com o que a sessão pode ser retomada",
        "How long it can be resumed after a drop": (
            "Por quanto tempo pode ser retomada depois de uma queda"
        ),
        "Only the fields to change": "Só os campos que mudam",
        "`turn`: only until the next utterance ends": "`turn`: só até o fim da próxima fala",
        "Number of the client's first audio message under the new values": (
            "Número da primeira mensagem de áudio do cliente sob os novos valores"
        ),
        "The same as samples since the session began": (
            "O mesmo, em amostras desde o começo da sessão"
        ),
        "Why, such as `call_hangup`": "Por quê, por exemplo `call_hangup`",
        "How long it was (s)": "Quanto durou (s)",
        "What a session was, counted by the server": "O que foi a sessão, contado pelo servidor",
        "Why, where the server ended it": "Por quê, quando foi o servidor que a encerrou",
        "How many messages of the session the sender has received": (
            "Quantas mensagens da sessão o remetente recebeu"
        ),
        "Number of the oldest message that the client still keeps": (
            "Número da mensagem mais antiga que o cliente ainda guarda"
        ),
        "Number of the oldest message that the server still keeps": (
            "Número da mensagem mais antiga que o servidor ainda guarda"
        ),
        "For the next time; the one before is void once it is used": (
            "Para a próxima vez; o anterior perde a validade quando este é usado"
        ),
        "Media time (ms) at which it began": "Tempo de mídia (ms) em que começou",
        "Audio (ms) before it that belongs to it": "Áudio (ms) anterior que faz parte dela",
        "Whether it has lasted for `min_speech_ms`": "Se já durou `min_speech_ms`",
        "How long it was (ms)": "Quanto durou (ms)",
        "Media time (ms) at which it ended": "Tempo de mídia (ms) em que terminou",
        "Too short to be speech": "Curta demais para ser fala",
        "`silence`, `too_short`, `max_duration` or `committed`": (
            "`silence`, `too_short`, `max_duration` ou `committed`"
        ),
        "What will be said, as far as it is known": "O que será dito, até onde se sabe",
        "Id of the answer (`response_control`)": "Id da resposta (`response_control`)",
        "The answer's number in `asp16` (`response_control`)": (
            "O número da resposta em `asp16` (`response_control`)"
        ),
        "Id of the answer": "Id da resposta",
        "Whether it was cut short": "Se foi interrompida",
        "Audio (ms) that was sent": "Áudio (ms) enviado",
        "Audio (ms) that was heard, as far as it is known": "Áudio (ms) ouvido, até onde se sabe",
        "Why it was cut short": "Por que foi interrompida",
        "Audio (ms) of it that was heard": "Áudio (ms) dela que foi ouvido",
        "Why": "Por quê",
        "Who said it": "Quem o disse",
        "What was said": "O que foi dito",
        "Whether it stays as it is": "Se fica como está",
        "Id of the task that it belongs to": "Id da tarefa a que pertence",
        "The answer that says it": "A resposta que o diz",
        "Its language (BCP 47)": "A sua língua (BCP 47)",
        "Id of the mark, chosen by the server": "Id da marca, escolhido pelo servidor",
        "The answer that it stands in": "A resposta em que ela está",
        "From the client: all before it was heard, or was thrown away": (
            "Do cliente: tudo antes dela foi ouvido, ou foi descartado"
        ),
        "From the client: audio (ms) heard of the answer": (
            "Do cliente: áudio (ms) ouvido da resposta"
        ),
        "0-9, A-D, `*` or `#`": "0-9, A-D, `*` ou `#`",
        "How long (ms)": "Por quanto tempo (ms)",
        "What to do": "O que fazer",
        "Where to transfer": "Para onde transferir",
        "What a peer did wrong (``error`` of ``protocol.error``, items of ``errors``)": (
            "O que o outro lado fez de errado "
            "(``error`` de ``protocol.error``, itens de ``errors``)"
        ),
        "Why, such as `shutdown`": "Por quê, por exemplo `shutdown`",
        "Time (ms) until the socket closes": "Tempo (ms) até o socket fechar",
        "Hz": "Hz",
        "Encodings": "Codificações",
        "Milliseconds": "Milissegundos",
        "Whether clients may configure VAD at all": "Se os clientes podem configurar o VAD",
        "What of it they may configure": "O que dele podem configurar",
        "Longest time of a session (s)": "Duração máxima de uma sessão (s)",
        "Features that a client may declare": "Recursos que um cliente pode declarar",
        "Framings": "Formatos das mensagens binárias",
        "What is used for what a client leaves out": "O que vale para o que o cliente omite",
        "Samples a second (Hz)": "Amostras por segundo (Hz)",
        "How a sample is written": "Como uma amostra é escrita",
        "Channels": "Canais",
        "Milliseconds of one frame": "Milissegundos de um quadro",
        "What stands before the audio in a binary message": (
            "O que vem antes do áudio em uma mensagem binária"
        ),
        "Detect speech; if false, the client says `audio.end`": (
            "Detectar fala; se falso, o cliente diz `audio.end`"
        ),
        "Silence (ms) that ends an utterance": "Silêncio (ms) que termina uma fala",
        "Voiced time (ms) below which speech is discarded": (
            "Tempo de voz (ms) abaixo do qual a fala é descartada"
        ),
        "Probability from which a frame is speech": (
            "Probabilidade a partir da qual um quadro é fala"
        ),
        "Frames over which speech is smoothed": "Quadros sobre os quais a detecção é suavizada",
        "Part of the ring that must be speech": "Parte da janela que precisa ser fala",
        "Audio (ms) kept from before the speech": "Áudio (ms) guardado de antes da fala",
        "What was changed": "O que foi mudado",
        "Dotted, as `vad.threshold`": "Com ponto, como `vad.threshold`",
        "The value that was asked for": "O valor pedido",
        "The value that is used": "O valor usado",
        "Frames heard": "Quadros ouvidos",
        "Frames said": "Quadros falados",
        "Starts of speech": "Começos de fala",
        "Answers that were interrupted": "Respostas interrompidas",
        "From the end of an utterance to the first audio": "Do fim de uma fala ao primeiro áudio",
        "A number of the error table": "Um número da tabela de erros",
        "`protocol`, `audio`, `vad` or `session`": "`protocol`, `audio`, `vad` ou `session`",
        "What was wrong, where, and what is allowed": (
            "O que estava errado, onde, e o que é permitido"
        ),
        "The short name of the code": "O nome curto do código",
        "The field, and what is supported": "O campo, e o que é suportado",
        "Whether the sender of the error goes on with the session": (
            "Se quem envia o erro continua com a sessão"
        ),
        # Errors: meaning, and what to do.
        "The message is not JSON, or a field is missing or has the wrong type.": (
            "A mensagem não é JSON, ou falta um campo, ou o tipo de um campo está errado."
        ),
        "Correct the field that `details.pointer` names, and send the message again.": (
            "Corrija o campo indicado em `details.pointer` e envie a mensagem de novo."
        ),
        "No session was started in time.": "Nenhuma sessão foi iniciada a tempo.",
        "Connect again, and send `session.start` as soon as the capabilities are there.": (
            "Conecte-se de novo e envie `session.start` assim que chegarem as capacidades."
        ),
        "The type is unknown, not for this side to send, or of a feature that was not agreed.": (
            "O tipo é desconhecido, não cabe a este lado, ou é de um recurso não acordado."
        ),
        "Send only the types of the agreed version and features; the message was ignored.": (
            "Envie só os tipos da versão e dos recursos acordados; a mensagem foi ignorada."
        ),
        "The major versions of the two sides differ.": (
            "As versões principais dos dois lados são diferentes."
        ),
        "Use a client of the server's major version.": (
            "Use um cliente da versão principal do servidor."
        ),
        "A session of that id is active, here or on another socket.": (
            "Uma sessão com esse id está ativa, neste socket ou em outro."
        ),
        "Give each session an id of its own, or end or resume the one that is there.": (
            "Dê um id próprio a cada sessão, ou encerre ou retome a que existe."
        ),
        "The server failed; the session has ended.": "O servidor falhou; a sessão terminou.",
        "Start a new session; tell the operator of the server if it happens again.": (
            "Inicie uma nova sessão; se acontecer de novo, avise quem opera o servidor."
        ),
        "The server does not take that sample rate.": (
            "O servidor não aceita essa taxa de amostragem."
        ),
        "Start again with one of `details.supported`, or with `negotiation: adjust`.": (
            "Comece de novo com um dos valores de `details.supported`, "
            "ou com `negotiation: adjust`."
        ),
        "The server does not take that encoding.": "O servidor não aceita essa codificação.",
        "The server does not take frames of that duration.": (
            "O servidor não aceita quadros dessa duração."
        ),
        "A binary message has no valid header, the wrong size, or a number out of order.": (
            "Uma mensagem binária tem cabeçalho inválido, tamanho errado ou número fora de ordem."
        ),
        "Send whole frames in the agreed framing and encoding; the message was dropped.": (
            "Envie quadros inteiros no formato e na codificação acordados; "
            "a mensagem foi descartada."
        ),
        "Audio came faster than the server takes it.": (
            "O áudio chegou mais depressa do que o servidor aceita."
        ),
        "Send at the rate of the clock, at most `details.max_lead_ms` ahead; "
        "what was too much was dropped.": (
            "Envie no ritmo do relógio, no máximo `details.max_lead_ms` à frente; "
            "o excesso foi descartado."
        ),
        "The server takes one channel.": "O servidor aceita um canal.",
        "Mix down to mono, or start with `negotiation: adjust`.": (
            "Converta para mono, ou comece com `negotiation: adjust`."
        ),
        "The server does not take that framing, or not on a socket with other sessions.": (
            "O servidor não aceita esse formato, ou não em um socket com outras sessões."
        ),
        "Start again with one of `details.supported`, or leave `audio.framing` out.": (
            "Comece de novo com um dos valores de `details.supported`, ou omita `audio.framing`."
        ),
        "A VAD parameter has the wrong type. (A value out of its range is adjusted.)": (
            "Um parâmetro do VAD tem o tipo errado. (Um valor fora da faixa é ajustado.)"
        ),
        "The server does not let clients configure VAD.": (
            "O servidor não deixa os clientes configurarem o VAD."
        ),
        "Go on with the server's values; they stand in `negotiated.vad`.": (
            "Continue com os valores do servidor; eles estão em `negotiated.vad`."
        ),
        "The detector could not be started.": "O detector não pôde ser iniciado.",
        "There is no session of that id, or no session to which that audio belongs.": (
            "Não há sessão com esse id, ou não há sessão a que esse áudio pertença."
        ),
        "Start a session first; after a break, start a new one.": (
            "Inicie antes uma sessão; depois de uma queda, inicie outra."
        ),
        "The session was idle for too long, or reached its longest time.": (
            "A sessão ficou parada por tempo demais, ou chegou à sua duração máxima."
        ),
        "Start a new session.": "Inicie uma nova sessão.",
        "The server holds as many sessions as it may, or stops; or this socket failed too often.": (
            "O servidor tem tantas sessões quantas pode, ou está parando; "
            "ou este socket falhou vezes demais."
        ),
        "Connect again later, with growing delays.": (
            "Conecte-se de novo mais tarde, com esperas crescentes."
        ),
        "The session is in a state that does not take that message.": (
            "A sessão está em um estado que não aceita essa mensagem."
        ),
        "Wait for the answer to the request before it.": "Espere a resposta ao pedido anterior.",
        "The two sides run different configurations; the session has ended.": (
            "Os dois lados usam configurações diferentes; a sessão terminou."
        ),
        "Apply `negotiated` before audio is processed, then start a new session.": (
            "Aplique `negotiated` antes de processar áudio e inicie uma nova sessão."
        ),
        "The token fits no session that can be resumed.": (
            "O token não serve para nenhuma sessão que possa ser retomada."
        ),
        # Limits.
        "Server: until a session was accepted on a new socket (1002).": (
            "Servidor: até uma sessão ser aceita em um socket novo (1002)."
        ),
        "Server: silence after which a legacy client is suspected. "
        "Nothing but a line in the log.": (
            "Servidor: silêncio depois do qual se suspeita de um cliente legado. "
            "Só uma linha no log."
        ),
        "Client: until the capabilities are there, or the server is a legacy one.": (
            "Cliente: até chegarem as capacidades, ou o servidor é legado."
        ),
        "Client: until ``session.started``.": "Cliente: até `session.started`.",
        "Client: until ``session.updated``.": "Cliente: até `session.updated`.",
        "Client: until ``session.ended``.": "Cliente: até `session.ended`.",
        "Server: a session without any message of its client (4002).": (
            "Servidor: uma sessão sem nenhuma mensagem do cliente (4002)."
        ),
        "Server: the longest time of a session (4002).": (
            "Servidor: a duração máxima de uma sessão (4002)."
        ),
        "How long a session waits for its client after its socket was lost.": (
            "Por quanto tempo uma sessão espera o cliente depois de perder o socket."
        ),
        "Server: sessions at once, those that wait to be resumed among them (4003).": (
            "Servidor: sessões ao mesmo tempo, inclusive as que esperam a retomada (4003)."
        ),
        "Server: sessions at once on one socket (4003).": (
            "Servidor: sessões ao mesmo tempo em um socket (4003)."
        ),
        "Server: rejected starts in a minute on one socket (4003).": (
            "Servidor: inícios recusados em um minuto em um socket (4003)."
        ),
        "Server: how far audio may run ahead of the clock (2005).": (
            "Servidor: quanto o áudio pode se adiantar ao relógio (2005)."
        ),
        "Messages that are kept for resumption, each way: a minute of 20 ms frames.": (
            "Mensagens guardadas para a retomada, em cada sentido: um minuto de quadros de 20 ms."
        ),
        "Bytes of them.": "Bytes dessas mensagens.",
        "Characters of a text message (1001)": "Caracteres de uma mensagem de texto (1001)",
        "Frames of a binary message (2004)": "Quadros de uma mensagem binária (2004)",
        "Bytes of audio in a binary message of a peer of 1.0.0 (2004)": (
            "Bytes de áudio em uma mensagem binária de um par 1.0.0 (2004)"
        ),
        "Messages after which a side acknowledges": "Mensagens depois das quais um lado confirma",
        "Seconds in which one error about audio is told once": (
            "Segundos em que um mesmo erro de áudio é dito uma só vez"
        ),
        # Headers of binary messages.
        "always `01`": "sempre `01`",
        "direction: `00` to the server, `01` to the client": (
            "sentido: `00` para o servidor, `01` para o cliente"
        ),
        "the first 8 bytes of the MD5 of the session id in UTF-8": (
            "os primeiros 8 bytes do MD5 do id da sessão em UTF-8"
        ),
        "zero; not looked at": "zero; não é lido",
        "1 to the server, 2 to the client": "1 para o servidor, 2 para o cliente",
        "number of the audio message": "número da mensagem de áudio",
        "microseconds from the start of the session to the first sample": (
            "microssegundos do começo da sessão à primeira amostra"
        ),
        "flags": "sinalizadores",
        "always `a5`": "sempre `a5`",
        "version 1 in the high half; 1 to the server, 2 to the client in the low half": (
            "versão 1 na metade alta; 1 para o servidor, 2 para o cliente na metade baixa"
        ),
        "`stream` of `session.started`": "`stream` de `session.started`",
        "media time of the first sample, in samples": (
            "tempo de mídia da primeira amostra, em amostras"
        ),
        "to the client: `generation` of the answer; to the server: zero": (
            "para o cliente: `generation` da resposta; para o servidor: zero"
        ),
        # Features.
        "Several audio configurations, in order of preference": (
            "Várias configurações de áudio, em ordem de preferência"
        ),
        "Both sides compare what they run": "Os dois lados comparam o que usam",
        "Positions in speech events, speech that is discarded, "
        "and the server's own speech events": (
            "Posições nos eventos de fala, fala descartada e os eventos de fala do servidor"
        ),
        "Answers have ids, and can be stopped by the client": (
            "As respostas têm ids, e o cliente pode interrompê-las"
        ),
        "The server learns what was heard": "O servidor fica sabendo o que foi ouvido",
        "A session outlives its socket": "A sessão sobrevive ao seu socket",
        "Other VAD values for one turn": "Outros valores de VAD para um turno",
        "Keys that the caller presses": "Teclas que quem ligou aperta",
        "The server transfers or hangs up the call": "O servidor transfere ou desliga a chamada",
        "The server says that it will close the socket": (
            "O servidor avisa que vai fechar o socket"
        ),
        "The client learns in words what was said": (
            "O cliente fica sabendo em palavras o que foi dito"
        ),
    }
)
