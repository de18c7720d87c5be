"""Fuzz the JSON-RPC parser and the dialects behind it.

With atheris installed: ``python fuzz/jsonrpc.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random bodies, mutated from good ones.
"""

from __future__ import annotations

import sys

import target

from palaver.model.ids import check_id
from palaver.protocols import jsonrpc
from palaver.protocols.a2a import errors, methods
from palaver.protocols.a2a.commands import Generation, Send
from palaver.protocols.a2a.mapping import dialect

SEEDS = [
    (
        b'{"jsonrpc":"2.0","id":"r1","method":"SendMessage","params":{"message":{"messageId":"m",'
        b'"role":"ROLE_USER","parts":[{"text":"hi"},{"raw":"aGk="},{"data":[null]},{"url":"u"}],'
        b'"contextId":"c"},"configuration":{"historyLength":3,"returnImmediately":true}}}'
    ),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"message/stream","params":{"message":{"kind":"message",'
        b'"messageId":"m","role":"user","parts":[{"kind":"text","text":"x"},{"kind":"data","data":{}},'
        b'{"kind":"file","file":{"bytes":"aGk=","name":"f"}}]},"configuration":{"blocking":false}}}'
    ),
    (
        b'{"jsonrpc":"2.0","id":null,"method":"tasks/sendSubscribe","params":{"id":"t","sessionId":"s",'
        b'"message":{"role":"user","parts":[{"type":"text","text":"oi"}]},"acceptedOutputModes":["text"'
        b"]}}"
    ),
    b'{"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{"id":"t","historyLength":1}}',
]


def check(body: bytes) -> None:
    """Hold that a body is a request that means a command, or is refused in its wire's words."""
    try:
        request = jsonrpc.parse_request(body)
    except jsonrpc.JsonRpcError as error:
        jsonrpc.error_response(error.request_id, error.code, error.message)
        return
    for version in (None, "1.0"):
        generation = Generation.V10
        try:
            call = methods.route(request, version)
            generation = methods.settle(call, None, request.params)
            command = dialect(generation).parse(call.operation, request.params)
        except errors.A2aError as error:
            errors.encode_error(request.id, error, generation)
            continue
        task_id = command.task_id
        assert task_id is None or check_id(task_id)
        if isinstance(command, Send):
            assert command.message.parts
        assert dialect(generation).request(call.operation, command)


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
