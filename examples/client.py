"""Talks to the concierge from Python.

python client.py http://127.0.0.1:8080
"""

import asyncio
import sys

from palaver.client.a2a import A2aClient
from palaver.client.discovery import choose_interface, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.engine.clock import new_id
from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import ArtifactReceived, StatusReceived


async def main(address):
    async with http_client(Patience()) as http:
        url, generation = choose_interface(await fetch_card(http, address))
        client = A2aClient(url, generation, ids=new_id, http=http)

        async for received in client.stream("When is breakfast?"):
            if isinstance(received.update, ArtifactReceived):
                print(received.update.artifact.text, end="", flush=True)
        print()

        # A task that asks back waits until it is answered.
        question = None
        async for received in client.stream("book 2"):
            if (
                isinstance(received.update, StatusReceived)
                and received.update.state is TaskState.INPUT_REQUIRED
            ):
                question = received.update
        print("agent asks:", question.message.text)
        answered = await client.send("Friday", task_id=question.task_id)
        print(answered.artifacts[0].text)
        print("task:", answered.state)


asyncio.run(main(sys.argv[1]))
