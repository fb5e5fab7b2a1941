/** Requests and answers that a platform refuses, joins or changes: none costs more than itself. */
import assert from "node:assert/strict";
import { encodeFrame, Opcode } from "../../lib/websocket/frame.ts";
import { acceptOf } from "../../lib/websocket/handshake.ts";
import { okWith } from "../interop/contents.ts";
import { eventually, within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import {
  fieldValues,
  type RawHead,
  type RawMessage,
  readHead,
  readRequest,
  readResponse,
  statusOf,
} from "../support/raw_http.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import {
  agentsConnected,
  agentToken,
  callerToken,
  type EdgeTunnel,
  homes,
  startEdgeTunnel,
} from "./homes.ts";

/** What the target was asked, the newest last. */
const asked: RawMessage[] = [];
/** Watches that are open, to send events on. */
const watches: RawConnection[] = [];

const event = '8\r\n{"a":1}\n\r\n';

/** Answers by the path; a WebSocket gets the subprotocol "v5" and one message right behind the 101. */
async function serve(connection: RawConnection): Promise<void> {
  while (!connection.isClosed) {
    const request = await readRequest(connection.reader);
    asked.push(request);
    const [, path = ""] = request.startLine.split(" ");
    const [key] = fieldValues(request, "sec-websocket-key");
    if (key !== undefined) return await openWebSocket(connection, request, key);
    if (path === "/watch") {
      watches.push(connection);
      const type = "Content-Type: text/html\r\nTransfer-Encoding: chunked";
      await connection.write(`HTTP/1.1 200 OK\r\n${type}\r\n\r\n${event}`);
    } else if (path === "/cached") {
      const fields = "Cache-Control: max-age=5\r\nContent-Type: text/html\r\nContent-Length: 4";
      await connection.write(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\nfine`);
    } else if (path.startsWith("/status/")) {
      await connection.write(`HTTP/1.1 ${path.slice(8)} Odd\r\nContent-Length: 2\r\n\r\nok`);
    } else if (path === "/bytes") {
      const head = "HTTP/1.1 200 \xe9\xff\r\nX-Bytes: caf\xe9\xff\r\nContent-Length: 2\r\n\r\nok";
      await connection.write(Uint8Array.from(head, (character) => character.charCodeAt(0)));
    } else await connection.write(okWith("fine"));
  }
}

async function openWebSocket(
  connection: RawConnection,
  request: RawMessage,
  key: string,
): Promise<void> {
  const offers = fieldValues(request, "sec-websocket-protocol").join().includes("v5");
  const head = [
    "HTTP/1.1 101 Switching Protocols",
    "Connection: Upgrade",
    "Upgrade: websocket",
    `Sec-WebSocket-Accept: ${await acceptOf(key)}`,
    ...(offers ? ["Sec-WebSocket-Protocol: v5"] : []),
    "",
    "",
  ].join("\r\n");
  const hello = unmasked(Opcode.Text, new TextEncoder().encode("hello"));
  await connection.write(new Uint8Array([...new TextEncoder().encode(head), ...hello]));
  if (request.startLine.includes("/fragments")) await connection.write(fragments(1024 * 1024));
}

/** A server's frame; one of a client has a mask of zeros, which changes nothing but the head. */
function unmasked(opcode: number, payload: Uint8Array): Uint8Array {
  const frame = encodeFrame(opcode, payload, new Uint8Array(4));
  return new Uint8Array([frame[0]!, frame[1]! & 0x7f, ...frame.subarray(6)]);
}

/** One message in as many frames as it has bytes. */
function fragments(bytes: number): Uint8Array {
  const frames = new Uint8Array(bytes * 3);
  for (let index = 0; index < bytes; index++) {
    const opcode = index === 0 ? Opcode.Binary : Opcode.Continuation;
    frames.set([opcode | (index === bytes - 1 ? 0x80 : 0), 1, index % 251], index * 3);
  }
  return frames;
}

async function openRaw(
  tunnel: EdgeTunnel,
  startLine: string,
  fields: readonly string[] = [],
  body = "",
): Promise<RawConnection> {
  const connection = await openConnection(tunnel.relay.address);
  const [method, path] = startLine.split(" ");
  const head = [`${method} /tunnel/edge${path} HTTP/1.1`, "Host: relay", ...fields];
  await connection.write([...head, `Authorization: Bearer ${callerToken}`, "", body].join("\r\n"));
  return connection;
}

/** The head of the answer to a request. */
async function headOf(
  tunnel: EdgeTunnel,
  startLine: string,
  fields: readonly string[] = [],
  body = "",
): Promise<RawHead> {
  await using connection = await openRaw(tunnel, startLine, fields, body);
  return await within(readHead(connection.reader), `the answer to ${startLine}`);
}

const handshake = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const without = (name: string) => handshake.filter((line) => !line.startsWith(`${name}:`));

/** Has a watch open while something else goes wrong: the watch goes on, in the same session. */
async function besideWatch(tunnel: EdgeTunnel, run: () => Promise<void>): Promise<void> {
  const connected = await agentsConnected(tunnel);
  await using watch = await openRaw(tunnel, "GET /watch", ["Accept-Encoding: identity"]);
  await within(readHead(watch.reader), "the watch's head");
  await within(watch.reader.readExactly(event.length), "the first event");
  await run();
  await watches.at(-1)!.write(event);
  const more = await within(watch.reader.readExactly(event.length), "an event afterwards");
  assert.equal(new TextDecoder().decode(more), event);
  assert.equal(await agentsConnected(tunnel), connected, "the session is the same");
  await endWatch(watch);
}

/** workerd notices that a caller has left with the next byte only, so the target ends its answer. */
async function endWatch(watch: RawConnection): Promise<void> {
  await watches.at(-1)!.write("0\r\n\r\n");
  await within(watch.reader.readExactly("0\r\n\r\n".length), "the watch's end");
}

for (const home of homes) {
  const isDeno = home.name === "deno serve";
  const withTunnel = async (run: (tunnel: EdgeTunnel, target: RawTarget) => Promise<void>) => {
    await using target = await startRawTarget(serve);
    await using tunnel = await startEdgeTunnel(home, target.address);
    await run(tunnel, target);
  };

  Deno.test(`${home.name}: subprotocols without a blank behind the comma are subprotocols`, async () => {
    await withTunnel(async (tunnel) => {
      await besideWatch(tunnel, async () => {
        for (const offer of ["v5,v4", "v4,v5", "v4, v5", "v4 ,\tv5", "v5"]) {
          const fields = [...handshake, `Sec-WebSocket-Protocol: ${offer}`];
          await using caller = await openRaw(tunnel, "GET /exec", fields);
          const head = await within(readHead(caller.reader), "the 101");
          assert.equal(statusOf(head), 101, offer);
          assert.deepEqual(fieldValues(head, "sec-websocket-protocol"), ["v5"], offer);
          // What the target sends right behind its 101 arrives as well.
          const hello = await within(caller.reader.readExactly(7), "the first message");
          assert.equal(new TextDecoder().decode(hello.subarray(2)), "hello");
        }
      });
    });
  });

  Deno.test(`${home.name}: a handshake that is none gets an answer, and costs nobody else anything`, async (t) => {
    await withTunnel(async (tunnel) => {
      await besideWatch(tunnel, async () => {
        const cases: readonly (readonly [string, string, readonly string[]])[] = [
          ["POST instead of GET", "POST /exec", [...handshake, "Content-Length: 0"]],
          ["no Sec-WebSocket-Key", "GET /exec", without("Sec-WebSocket-Key")],
          ["a key of another length", "GET /exec", [
            ...without("Sec-WebSocket-Key"),
            "Sec-WebSocket-Key: c2hvcnQ=",
          ]],
          ["no version", "GET /exec", without("Sec-WebSocket-Version")],
          ["another version", "GET /exec", [
            ...without("Sec-WebSocket-Version"),
            "Sec-WebSocket-Version: 8",
          ]],
        ];
        for (const [what, startLine, fields] of cases) {
          await t.step(what, async () => {
            const status = statusOf(await headOf(tunnel, startLine, fields));
            // workerd does not look at the key's length.
            assert.equal(status, isDeno || what !== "a key of another length" ? 400 : 101);
          });
        }
      });
    });
  });

  Deno.test(`${home.name}: an answer that the platform can't pass on is 502, and the session goes on`, async () => {
    await withTunnel(async (tunnel) => {
      await besideWatch(tunnel, async () => {
        for (const status of [600, 799, 999]) {
          await using caller = await openRaw(tunnel, `GET /status/${status}`);
          const answer = await within(readResponse(caller.reader, "GET"), "the answer");
          // Some platforms pass on more statuses than the standard's.
          if (statusOf(answer) === status) continue;
          assert.equal(statusOf(answer), 502);
          assert.match(new TextDecoder().decode(answer.body), /can't be passed on/);
        }
        const head = await headOf(tunnel, "GET /bytes");
        assert.ok([200, 502].includes(statusOf(head)), head.startLine);
        assert.equal(statusOf(await headOf(tunnel, "GET /fine")), 200);
      });
    });
  });

  Deno.test(`${home.name}: a caller that accepts gzip gets events as they come, and lengths as they are`, async () => {
    await withTunnel(async (tunnel) => {
      const fields = ["Accept-Encoding: gzip"];
      await using watch = await openRaw(tunnel, "GET /watch", fields);
      const head = await within(readHead(watch.reader), "the watch's head");
      assert.equal(fieldValues(head, "content-encoding").includes("gzip"), false);
      for (let count = 0; count < 3; count++) {
        if (count > 0) await watches.at(-1)!.write(event);
        const got = await within(watch.reader.readExactly(event.length), "an event");
        assert.equal(new TextDecoder().decode(got), event);
      }
      await endWatch(watch);

      await using caller = await openRaw(tunnel, "GET /cached", fields);
      const answer = await within(readResponse(caller.reader, "GET"), "the answer");
      assert.deepEqual(fieldValues(answer, "content-length"), ["4"]);
      assert.equal(new TextDecoder().decode(answer.body), "fine");
      const directives = fieldValues(answer, "cache-control").join().split(/, */);
      assert.deepEqual(directives, isDeno ? ["max-age=5"] : ["max-age=5", "no-transform"]);
    });
  });

  Deno.test(`${home.name}: the target sees the caller's Accept-Encoding, or none`, async () => {
    await withTunnel(async (tunnel) => {
      for (const own of [[], ["gzip"], ["br;q=0.5, identity"]]) {
        await headOf(tunnel, "GET /fine", own.map((value) => `Accept-Encoding: ${value}`));
        assert.deepEqual(fieldValues(asked.at(-1)!, "accept-encoding"), own);
      }
    });
  });

  Deno.test(`${home.name}: what may be another identity than the caller's is refused`, async () => {
    await withTunnel(async (tunnel) => {
      const before = asked.length;
      for (const name of ["Impersonate-Group", "Impersonate-Extra-Scopes"]) {
        const fields = ["Impersonate-User: jane", `${name}: g1`, `${name}: g2`];
        assert.equal(statusOf(await headOf(tunnel, "GET /who", fields)), 400);
        assert.equal(statusOf(await headOf(tunnel, "GET /who", [`${name}: g1, g2`])), 400);
      }
      assert.equal(asked.length, before, "the target was not asked");
      // One name, as LDAP has them, is what the caller sent.
      const distinguished = ["Impersonate-User: CN=jane,OU=people"];
      assert.notEqual(statusOf(await headOf(tunnel, "GET /who", distinguished)), 400);
    });
  });

  Deno.test(`${home.name}: a body that is chunked and empty keeps a framing`, async () => {
    await withTunnel(async (tunnel) => {
      const chunked = ["Transfer-Encoding: chunked"];
      assert.equal(statusOf(await headOf(tunnel, "POST /empty", chunked, "0\r\n\r\n")), 200);
      const { fields, body } = asked.at(-1)!;
      const framing = fields.filter(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
      assert.equal(body.length, 0);
      assert.deepEqual(framing.map(([, value]) => value), ["chunked"]);

      assert.equal(statusOf(await headOf(tunnel, "POST /none", ["Content-Length: 0"])), 200);
      assert.deepEqual(fieldValues(asked.at(-1)!, "content-length"), ["0"]);
    });
  });

  Deno.test(`${home.name}: a message in a million fragments arrives whole, and costs no more than one`, async () => {
    await withTunnel(async (tunnel) => {
      const before = isDeno ? await tunnel.relay.program.residentBytes() : 0;
      const headers = { Authorization: `Bearer ${callerToken}` };
      const socket = new WebSocket(`${tunnel.url.replace("http", "ws")}/fragments`, { headers });
      socket.binaryType = "arraybuffer";
      const { promise, resolve } = Promise.withResolvers<Uint8Array>();
      socket.addEventListener("message", ({ data }) => {
        if (typeof data !== "string") resolve(new Uint8Array(data));
      });
      const message = await within(promise, "the message", 30_000);
      assert.equal(message.length, 1024 * 1024);
      assert.ok(message.every((byte, index) => byte === index % 251));
      if (isDeno) {
        const more = await tunnel.relay.program.peakResidentBytes() - before;
        assert.ok(more < 120 * 1024 * 1024, `${more} bytes for one message`);
      }
      const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
      socket.close();
      await within(closed, "the close");
    });
  });

  // workerd has no way to end a WebSocket without its peer.
  if (!isDeno) continue;

  Deno.test(`${home.name}: a caller that never answers a Close is cut off`, async () => {
    await withTunnel(async (tunnel, target) => {
      await using caller = await openRaw(tunnel, "GET /exec", handshake);
      await within(readHead(caller.reader), "the 101");
      await eventually(() => target.connections.length > 0, "the target's connection");
      for (const connection of target.connections) {
        await connection.write(unmasked(Opcode.Close, new Uint8Array([3, 232])));
      }
      await eventually(() => caller.isEnded || caller.isClosed, "the connection to end", 30_000);
    });
  });

  Deno.test(`${home.name}: an agent that never answers a Close is cut off`, async () => {
    await withTunnel(async (tunnel) => {
      const agents = await Promise.all(Array.from({ length: 20 }, async () => {
        const connection = await openConnection(tunnel.relay.address);
        const head = ["GET /connect HTTP/1.1", "Host: relay", ...handshake, "Tunnel-Version: 2"];
        const own = `Authorization: Bearer ${agentToken}`;
        await connection.write([...head, own, "", ""].join("\r\n"));
        assert.equal(statusOf(await within(readHead(connection.reader), "the 101")), 101);
        return connection;
      }));
      // No Settings come: each is closed after 10 s, and cut off 5 s later.
      await eventually(
        () => agents.every(({ isEnded, isClosed }) => isEnded || isClosed),
        "the agents' connections to end",
        60_000,
      );
      for (const agent of agents) await agent[Symbol.asyncDispose]();
    });
  });
}
