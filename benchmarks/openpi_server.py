"""A policy server in the manner of openpi's: WebSocket and msgpack, a whole observation for each action chunk.

    python benchmarks/openpi_server.py BUNDLE PORT

The least that openpi's own client speaks to (openpi_client.websocket_client_policy): metadata first, then a message of
packed arrays for each one that comes. Around the same PolicySession as everything else in benchmarks/serving.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

from openpi_client import msgpack_numpy
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed

from ganglion.core.bundle import open_bundle
from ganglion.core.messages import Hop
from ganglion.serving.policy.engine import PolicyEngine
from ganglion.serving.policy.session import PolicySession


async def serve(engine: PolicyEngine, port: int) -> None:
    """Until it is ended."""

    async def answer(connection: ServerConnection) -> None:
        session, packer = engine.session(), msgpack_numpy.Packer()
        with contextlib.suppress(ConnectionClosed):  # openpi's client leaves without a word
            await talk(connection, session, packer)

    async def talk(connection: ServerConnection, session: PolicySession, packer: Any) -> None:
        await connection.send(packer.pack({"robot": engine.robot.name}))
        async for message in connection:
            seen = msgpack_numpy.unpackb(message)
            reply = session.send_hop(Hop(seen["first_seq"], seen["stamp_ns"], seen["samples"]))
            timings = {
                name: value for name, value in reply.timings_ms.items() if name in ("preprocess", "encoder", "head")
            }
            await connection.send(packer.pack({"actions": reply.chunk, "server_timing": timings}))

    async with serve_websockets(answer, "127.0.0.1", port, compression=None, max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with PolicyEngine.open(open_bundle(Path(sys.argv[1]))) as opened:
        asyncio.run(serve(opened, int(sys.argv[2])))
