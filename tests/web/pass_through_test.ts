/** Connections that go on by the name in their ClientHello, before any TLS. */
import { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectH2 } from "node:http2";
import { connect as connectTls } from "node:tls";
import { concat } from "../../lib/bytes/bytes.ts";
import { AddressRanges } from "../../lib/domain/address_ranges.ts";
import type { PassThrough } from "../../lib/runtime/node/listener/connection_listener.ts";
import { helloMessage, records } from "../support/client_hello.ts";
import { eventually, within } from "../support/deadline.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { RawConnection } from "../support/raw_connection.ts";
import { withWebListener } from "./setup.ts";

/** Takes the connections for one name, and keeps what comes. */
class Sink {
  readonly hellos: string[] = [];
  readonly addresses: string[] = [];
  bytes: Uint8Array = new Uint8Array(0);
  sockets = 0;

  readonly passThrough: PassThrough = ({ serverName, alpn }) => {
    this.hellos.push(`${serverName} ${alpn}`);
    if (serverName !== "raw.example") return undefined;
    return ({ socket, peer }) => {
      this.sockets++;
      this.addresses.push(peer.address);
      socket.on("data", (bytes) => this.bytes = concat(this.bytes, bytes));
      socket.on("end", () => socket.end());
      socket.on("error", () => {});
      socket.resume();
    };
  };
}

async function open(port: number): Promise<Socket> {
  const socket = connectTcp({ host: "127.0.0.1", port, noDelay: true });
  socket.on("error", () => {});
  await within(once(socket, "connect"), "a connection");
  return socket;
}

/** Resolves once a connection is over, in whatever way. */
function ended(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("error", () => {});
  socket.on("close", () => resolve());
  socket.resume();
  return promise;
}

Deno.test("A connection is passed on by its name with every byte, however its hello is cut", async (t) => {
  const message = helloMessage({
    serverName: "raw.example",
    alpn: ["h2"],
    extensions: [[51, new Uint8Array(30_000).fill(7)]],
  });
  const cuts: Record<string, [recordBytes: number, segmentBytes: number]> = {
    "in one segment": [16_384, 1_000_000],
    "in small records": [100, 1_000_000],
    "in small segments": [16_384, 3_000],
  };
  for (const [name, [recordBytes, segmentBytes]] of Object.entries(cuts)) {
    await t.step(name, async () => {
      const sink = new Sink();
      await withWebListener({ passThrough: sink.passThrough }, async ({ port }) => {
        const sent = concat(records(message, recordBytes), new Uint8Array([23, 3, 3, 0, 1, 9]));
        const socket = await open(port);
        for (let at = 0; at < sent.length; at += segmentBytes) {
          socket.write(sent.subarray(at, at + segmentBytes));
          if (segmentBytes < sent.length) await new Promise((resolve) => setTimeout(resolve, 2));
        }
        await eventually(() => sink.bytes.length === sent.length, "all bytes");
        deepEqual(sink.bytes, sent);
        deepEqual([sink.hellos, sink.addresses], [["raw.example h2"], ["127.0.0.1"]]);
        socket.end();
        await within(ended(socket), "the end");
      });
    });
  }
});

Deno.test("Other names go on into TLS, with the hello in pieces too", async () => {
  const sink = new Sink();
  await withWebListener({ passThrough: sink.passThrough }, async ({ port, ca }) => {
    const socket = await open(port);
    const write = socket.write.bind(socket);
    // Only the first write is the hello.
    let isFirst = true;
    socket.write = ((bytes: Uint8Array, ...rest: unknown[]) => {
      if (!isFirst) return (write as (...args: unknown[]) => boolean)(bytes, ...rest);
      isFirst = false;
      for (let at = 0; at < bytes.length; at += 20) write(bytes.subarray(at, at + 20));
      return write(new Uint8Array(0), rest.at(-1) as () => void);
    }) as typeof socket.write;
    const tls = connectTls({ socket, ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    await within(once(tls, "secureConnect"), "the handshake");
    await using connection = new RawConnection(tls as Socket);
    await connection.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    equal(statusOf(await within(readResponse(connection.reader), "an answer")), 200);
    deepEqual([sink.hellos, sink.sockets], [["localhost http/1.1"], 0]);
  });
});

Deno.test("What is no hello is refused, and a hello that never ends is bounded in bytes and time", async (t) => {
  const sink = new Sink();
  await withWebListener({ passThrough: sink.passThrough }, async ({ port, told, server }) => {
    // Its header says 70,000 bytes.
    const large = concat(new Uint8Array([1, 1, 0x11, 0x70]), new Uint8Array(70_000));
    const cases: Record<string, Uint8Array> = {
      "plain HTTP": new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      "a hello that is too long": records(large, 16_384),
      "a hello with two names": records(
        helloMessage({ serverName: "raw.example", extensions: [[0, new Uint8Array([0, 0])]] }),
        16_384,
      ),
    };
    for (const [name, bytes] of Object.entries(cases)) {
      await t.step(name, async () => {
        const socket = await open(port);
        socket.write(bytes);
        await within(ended(socket), "the connection to be closed");
        await eventually(() => told.length > 0, "a line about it");
        told.length = 0;
      });
    }
    equal(sink.sockets, 0);
    await eventually(() => server.openConnections === 0, "the connections to end");
  });
});

Deno.test("A client that sends half a hello and waits is closed like any late handshake", async () => {
  const sink = new Sink();
  const options = { passThrough: sink.passThrough, handshakeTimeoutMs: 200 };
  await withWebListener(options, async ({ port, told }) => {
    const silent = await open(port);
    const half = await open(port);
    half.write(records(helloMessage({ serverName: "raw.example" }), 16_384).subarray(0, 50));
    const closed = [silent, half].map((socket) => ended(socket));
    await within(Promise.all(closed), "both to be closed");
    deepEqual(told.toSorted(), ["handshake silent", "handshake timeout"]);
  });
});

Deno.test("Passed connections count, and end with the listener", async () => {
  const sink = new Sink();
  const connections = { max: 1, maxPerAddress: 0 };
  const options = { passThrough: sink.passThrough, connections };
  await withWebListener(options, async ({ port, server }) => {
    const first = await open(port);
    first.write(records(helloMessage({ serverName: "raw.example" }), 16_384));
    await eventually(() => sink.sockets === 1, "the first");
    equal(server.openConnections, 1);
    const second = connectTcp({ host: "127.0.0.1", port });
    await within(ended(second), "the second to be reset");
    const closed = ended(first);
    server.close();
    await within(closed, "the first to end");
  });
});

Deno.test("A PROXY header in front of a hello names the client, of connections that are passed on too", async () => {
  const sink = new Sink();
  const proxies = { ranges: AddressRanges.parse("127.0.0.1")!, sendHeader: true };
  await withWebListener({ passThrough: sink.passThrough, proxies }, async ({ port, ca }) => {
    const header = new TextEncoder().encode("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n");
    const passed = await open(port);
    const hello = records(helloMessage({ serverName: "raw.example" }), 50);
    passed.write(concat(header, hello));
    await eventually(() => sink.bytes.length === hello.length, "the hello");
    deepEqual([sink.bytes, sink.addresses], [hello, ["192.0.2.7"]]);
    const opened = await open(port);
    opened.write(header);
    const tls = connectTls({ socket: opened, ca, servername: "localhost", ALPNProtocols: ["h2"] });
    await within(once(tls, "secureConnect"), "the handshake");
    const session = connectH2("https://localhost", { createConnection: () => tls });
    const request = session.request({ ":path": "/" });
    let text = "";
    request.on("data", (bytes) => text += String(bytes));
    await within(once(request, "end"), "an answer");
    equal(JSON.parse(text).address, "192.0.2.7");
    session.destroy();
    passed.destroy();
  });
});

Deno.test("A listener without certificates passes TLS on by name, and takes HTTP beside it", async () => {
  const sink = new Sink();
  const options = { passThrough: sink.passThrough, certificates: undefined };
  await withWebListener(options, async ({ port, told }) => {
    const passed = await open(port);
    passed.write(records(helloMessage({ serverName: "raw.example" }), 16_384));
    await eventually(() => sink.sockets === 1, "the connection that is passed on");
    passed.destroy();
    const other = await open(port);
    other.write(records(helloMessage({ serverName: "other.example" }), 16_384));
    await within(ended(other), "the other name to be refused");
    deepEqual(told, ["handshake unknown_name"]);
    await using plain = new RawConnection(await open(port));
    await plain.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    equal(statusOf(await within(readResponse(plain.reader), "an answer")), 200);
  });
});
