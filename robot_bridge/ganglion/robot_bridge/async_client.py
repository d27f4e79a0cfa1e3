"""Any policy client for asyncio.

    async with AsyncPolicyClient(TritonPolicyClient("127.0.0.1:8001", robot)) as client:
        reply = await client.send_hop(hop)

Hops are sent by one thread, in the order in which they were handed over, and the event loop goes on meanwhile. A client
answers within its deadline, so a hop that nobody waits for any more holds up the next one no longer than that.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from ganglion.core.messages import Frame, Hop, PolicyClient, Reply


class AsyncPolicyClient:
    """A `PolicyClient` whose hops are awaited.

    Args:
        client: does the work; it is closed with this one.
    """

    def __init__(self, client: PolicyClient) -> None:
        self._client = client
        self._thread = ThreadPoolExecutor(1, "policy-client")

    def set_instruction(self, instruction: str) -> None:
        """See PolicyClient."""
        self._client.set_instruction(instruction)

    def send_frame(self, frame: Frame) -> None:
        """See PolicyClient; it returns at once."""
        self._client.send_frame(frame)

    async def send_hop(self, hop: Hop) -> Reply | None:
        """See PolicyClient.

        Raises:
            InputError: the samples have another shape or type than the spec says.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._client.send_hop, hop)

    async def close(self) -> None:
        """See PolicyClient."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._thread.shutdown()
        self._client.close()

    async def __aenter__(self) -> AsyncPolicyClient:
        """Give the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()
