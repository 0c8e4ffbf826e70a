"""A process with python-zeroconf, which understands what peer.rs says."""

import asyncio
import os
import signal
import sys
import time

from zeroconf import IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

TYPE = "_vine._tcp.local."
# As those of the same names in foreign.rs.
PATIENCE = 100
COUNTED = 10


def micros():
    return int(time.time() * 1_000_000)


def say(text):
    print(text, flush=True)


def kind(name):
    return TYPE if name == "*" else f"_{name.replace('.', '-')}._sub.{TYPE}"


def label(name, node):
    return f"{node} of {name}".replace(".", "-")


class Peer:
    def __init__(self, zeroconf):
        self.zeroconf = zeroconf
        self.published = {}

    async def register(self, name, version, node, address, plainly=False):
        host, port = address.rsplit(":", 1)
        text = {"txtvers": "1", "ns": "vine", "n": name, "v": version, "id": node}
        known = f"{label(name, node)}.{TYPE}"
        info = AsyncServiceInfo(
            TYPE if plainly else kind(name), known, port=int(port), properties=text,
            server="zeroconf.local.", parsed_addresses=[host],
        )
        self.published[known] = info
        return await self.zeroconf.async_register_service(info)

    async def register_many(self, name, version, count, address, *_):
        one = [
            await self.register(name, version, f"{address}-{i}", f"{address}:{1 + i}")
            for i in range(int(count))
        ]
        await asyncio.gather(*one)

    async def deregister(self, name, _version, node):
        info = self.published.pop(f"{label(name, node)}.{TYPE}")
        # An answer that waits would bring back, after the goodbye, what is withdrawn.
        core = self.zeroconf.zeroconf
        while core.out_queue.queue or core.out_delay_queue.queue:
            await asyncio.sleep(0.02)
        await (await self.zeroconf.async_unregister_service(info))

    def browse(self, name, seen):
        def changed(zeroconf, service_type, name, state_change):
            asyncio.ensure_future(self.resolve(name, state_change, seen))

        return AsyncServiceBrowser(self.zeroconf.zeroconf, kind(name), handlers=[changed])

    async def resolve(self, known, change, seen):
        if change is ServiceStateChange.Removed:
            return seen(known, None)
        info = AsyncServiceInfo(TYPE, known)
        if await info.async_request(self.zeroconf.zeroconf, 3000):
            seen(known, info)

    async def find(self, name, expected, patience):
        asked, found, done = time.perf_counter(), {}, asyncio.Event()

        def seen(_known, info):
            if info is None:
                return
            text = info.decoded_properties
            if name in ("*", text.get("n")):
                for address in info.parsed_addresses(IPVersion.V4Only)[:1]:
                    mark = f"+{text['m.mark']}" if "m.mark" in text else ""
                    found[f"{text['id']}@{address}:{info.port}{mark}"] = time.perf_counter()
            if len(found) >= expected:
                done.set()

        browser = self.browse(name, seen)
        try:
            await asyncio.wait_for(done.wait(), patience)
        except asyncio.TimeoutError:
            pass
        await browser.async_cancel()
        last = max(found.values(), default=asked)
        return int((last - asked) * 1_000_000), sorted(found)

    def watch(self, name):
        known = {}

        def seen(label, info):
            if info is None:
                if label in known:
                    say(f"event {micros()} delete {known.pop(label)['id']}")
                return
            before, text = known.get(label), dict(info.decoded_properties)
            known[label] = text
            if before is None:
                say(f"event {micros()} create {text['id']}")
            elif before != text:
                say(f"event {micros()} update {text['id']}")

        self.browser = self.browse(name, seen)

    async def obey(self, words):
        asked, (command, *rest) = micros(), words
        if command == "sized":
            return f"sized {os.getpid()}"
        if command == "register":
            await (await self.register(*rest))
            return f"registered {asked}"
        if command == "register-plainly":
            await (await self.register(*rest, plainly=True))
            return f"registered {asked}"
        if command == "register-many":
            await self.register_many(*rest)
            return f"registered {asked}"
        if command == "deregister":
            await self.deregister(*rest)
            return f"deregistered {asked}"
        if command == "get":
            expected = int(rest[1]) if rest[1].isdigit() else 1
            took, found = await self.find(rest[0], expected, PATIENCE)
            return f"got {took} {' '.join(found)}"
        if command == "count":
            took, found = await self.find(rest[0], int(rest[1]), COUNTED)
            return f"counted {took} {len(found)}"
        if command == "watch":
            self.watch(rest[0])
            return "snapshot "
        return "error not a command"


async def main():
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    zeroconf = AsyncZeroconf(ip_version=IPVersion.V4Only)
    peer = Peer(zeroconf)
    await zeroconf.zeroconf.async_wait_for_start()
    say("ready")
    ended = asyncio.ensure_future(end.wait())
    while not end.is_set():
        line = asyncio.ensure_future(lines.readline())
        await asyncio.wait({line, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not line.done() or not line.result():
            break
        try:
            say(await peer.obey(line.result().decode().split()))
        except Exception as error:
            say(f"error {error!r}")
    await zeroconf.async_unregister_all_services()
    await zeroconf.async_close()


asyncio.run(main())
