"""The sample of the streaming plan (§5), with an address and the asynchronous ``aconnect_sse``.

Everything else is as people who wrote their clients by the plan have it, so it is not ours to
tidy up. Run as ``plan_sample.py ADDRESS``.
"""

# ruff: noqa: ANN201, D103, T201

import asyncio
import json
import sys
import uuid

import httpx
from httpx_sse import aconnect_sse

ADDRESS = sys.argv[1]


# fmt: off
async def exemplo_uso():
    agent_id = "uuid-do-agente"
    api_key = "sua-api-key"
    mensagem = "Olá, como posso ajudar?"

    async with httpx.AsyncClient() as client:
        # Configura headers
        headers = {
            "Accept": "text/event-stream",
            "Authorization": f"x-api-key {api_key}"
        }

        # Monta payload JSON-RPC
        payload = {
            "jsonrpc": "2.0",
            "id": str(uuid.uuid4()),
            "method": "tasks/sendSubscribe",
            "params": {
                "id": str(uuid.uuid4()),
                "message": {
                    "role": "user",
                    "parts": [{"type": "text", "text": mensagem}]
                }
            }
        }

        # Inicia streaming
        async with aconnect_sse(client, "POST", f"{ADDRESS}/agents/{agent_id}/tasks/sendSubscribe",
                             json=payload, headers=headers) as event_source:
            async for event in event_source.aiter_sse():
                if event.event == "message":
                    data = json.loads(event.data)
                    print(f"Evento recebido: {data}")
# fmt: on


asyncio.run(exemplo_uso())
