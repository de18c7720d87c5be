"""Leaves a stream in the middle, and goes on behind the last event that it saw.

python resume.py http://127.0.0.1:8080

A connection that drops is taken up again by the client itself. This is for a program that ends,
keeps the two values that it needs, and comes back later.
"""

import asyncio
import sys
from contextlib import aclosing

from palaver.client.a2a import A2aClient
from palaver.engine.clock import new_id
from palaver.protocols.a2a.commands import ArtifactReceived, Generation, TaskReceived


async def main(address):
    async with A2aClient(f"{address}/a2a", Generation.V10, ids=new_id) as client:
        task_id, seq = None, 0
        async with aclosing(client.stream("tour")) as news:
            async for received in news:
                seq = received.seq
                if isinstance(received.update, TaskReceived):
                    task_id = received.update.task_id
                elif isinstance(received.update, ArtifactReceived):
                    print(received.update.artifact.text)
                    break

        # … hours later, knowing task_id and seq:
        state = None
        async for received in client.resume(task_id, after=seq):
            if isinstance(received.update, ArtifactReceived):
                print(received.update.artifact.text, end="")
            else:
                state = received.update.state
        print()
        print("task:", state)


asyncio.run(main(sys.argv[1]))
