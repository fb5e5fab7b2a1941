/** What each platform changes of a request and its answer, byte by byte: rows of docs/runtimes.md. */
import assert from "node:assert/strict";
import { CloseStatus, encodeFrame, Opcode } from "../../lib/websocket/frame.ts";
import { acceptOf } from "../../lib/websocket/handshake.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { fieldValues, type RawMessage, readHead, readRequest } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { callerToken, type EdgeTunnel, homes, startEdgeTunnel } from "./homes.ts";

/** What the target was asked. */
const asked: RawMessage[] = [];

const answer = [
  "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
  "HTTP/1.1 299 Rather Special\r\nTransfer-Encoding: chunked\r\nX-Zulu: 1\r\nx-alpha: 2\r\n\r\n",
  "2\r\nok\r\n0\r\nX-Trailer: 3\r\n\r\n",
].join("");

/** Answers with all that HTTP/1.1 knows, or, asked for a WebSocket, opens one and reads no more. */
async function serve(connection: RawConnection): Promise<void> {
  while (!connection.isClosed) {
    const request = await readRequest(connection.reader);
    asked.push(request);
    const [key] = fieldValues(request, "sec-websocket-key");
    if (key === undefined) {
      await connection.write(answer);
      continue;
    }
    const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
    await connection.write(`${head}\r\nSec-WebSocket-Accept: ${await acceptOf(key)}\r\n\r\n`);
    if (request.startLine.includes("/flood")) await flood(connection);
    return;
  }
}

/** Sends messages for as long as somebody takes them. */
async function flood(connection: RawConnection): Promise<void> {
  // A target's frames have no mask; encodeFrame's mask of zeros changes nothing but the head.
  const masked = encodeFrame(Opcode.Binary, new Uint8Array(32_768), new Uint8Array(4));
  const frame = new Uint8Array([masked[0]!, masked[1]! & 0x7f, masked[2]!, masked[3]!]);
  const message = new Uint8Array([...frame, ...new Uint8Array(32_768)]);
  try {
    while (!connection.isClosed) await connection.write(message);
  } catch (error) {
    // The caller went away.
    if (!connection.isClosed && !String(error).includes("ECONNRESET")) throw error;
  }
}

async function openRaw(tunnel: EdgeTunnel, path: string, fields: readonly string[] = []) {
  const connection = await openConnection(tunnel.relay.address);
  const head = [`GET /tunnel/edge${path} HTTP/1.1`, "Host: relay", ...fields];
  const text = [...head, `Authorization: Bearer ${callerToken}`, "", ""].join("\r\n");
  await connection.write(text);
  return connection;
}

const handshake = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Extensions: permessage-deflate",
];

for (const home of homes) {
  const isDeno = home.name === "deno serve";

  Deno.test(`${home.name}: what becomes of paths, fields and heads`, async () => {
    await using target = await startRawTarget(serve);
    await using tunnel = await startEdgeTunnel(home, target.address);
    await using caller = await openRaw(tunnel, "/a/../b/./c%2Fd//e?f=%20&g=/../h", [
      "X-Zulu: 1",
      "x-Alpha: 2",
      "X-Zulu: 3",
      "Accept-Encoding: identity",
    ]);
    const head = await within(readHead(caller.reader), "the answer");
    const request = asked.at(-1)!;
    const path = isDeno ? "/a/../b/./c%2Fd//e" : "/b/c%2Fd//e";
    assert.equal(request.startLine, `GET ${path}?f=%20&g=/../h HTTP/1.1`);
    const own = request.fields.filter(([name]) => /^x-(zulu|alpha)$/i.test(name));
    assert.deepEqual(own, [["x-alpha", "2"], ["x-zulu", "1, 3"]]);
    assert.equal(head.startLine, isDeno ? "HTTP/1.1 299 " : "HTTP/1.1 299 Rather Special");
    assert.deepEqual([fieldValues(head, "x-zulu"), fieldValues(head, "x-alpha")], [["1"], ["2"]]);
    const body = "2\r\nok\r\n0\r\n\r\n";
    const got = await within(caller.reader.readExactly(body.length), "the body");
    assert.equal(new TextDecoder().decode(got), body, "no trailers");
  });

  Deno.test(`${home.name}: a WebSocket is joined without extensions`, async () => {
    await using target = await startRawTarget(serve);
    await using tunnel = await startEdgeTunnel(home, target.address);
    await using caller = await openRaw(tunnel, "/quiet", handshake);
    const head = await within(readHead(caller.reader), "the 101");
    assert.match(head.startLine, /^HTTP\/1\.1 101 /);
    assert.deepEqual(fieldValues(asked.at(-1)!, "sec-websocket-extensions"), []);
  });

  Deno.test(`${home.name}: a caller is closed that goes on while its target reads nothing`, async () => {
    await using target = await startRawTarget(serve);
    await using tunnel = await startEdgeTunnel(home, target.address);
    const headers = { Authorization: `Bearer ${callerToken}` };
    const socket = new WebSocket(`${tunnel.url.replace("http", "ws")}/quiet`, { headers });
    const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve));
    await within(new Promise((resolve) => socket.addEventListener("open", resolve)), "the 101");
    const message = new Uint8Array(256 * 1024);
    await eventually(() => {
      // A few at a time: nothing of its own shall be in the way of what comes back.
      if (socket.readyState === 1 && socket.bufferedAmount < message.length) socket.send(message);
      return socket.readyState > 1;
    }, "the end");
    const { code, reason } = await within(closed, "the close");
    assert.deepEqual([code, reason], [CloseStatus.TryAgainLater, "The target reads too slowly"]);
  });
}

Deno.test("deno serve: a WebSocket's caller that does not read stops its target", async () => {
  await using target = await startRawTarget(serve);
  await using tunnel = await startEdgeTunnel(homes[0]!, target.address);
  await using caller = await openRaw(tunnel, "/flood", handshake);
  await within(readHead(caller.reader), "the 101");
  const sent = () => Math.max(...target.connections.map(({ writtenBytes }) => writtenBytes));
  const stopped = await untilSteady(sent, "the flood");
  assert.ok(stopped > 1024 * 1024 && stopped < 64 * 1024 * 1024, `${stopped} bytes are under way`);
});
