import assert from "node:assert/strict";
import fc from "fast-check";
import {
  CloseStatus,
  encodeClose,
  encodeFrame,
  isCloseCode,
  Opcode,
  WebSocketError,
} from "../../lib/websocket/frame.ts";
import { MessageReader } from "../../lib/websocket/message_reader.ts";
import { acceptOf } from "../../lib/websocket/handshake.ts";
import { check } from "../protocol/property.ts";

/** A frame as a server writes it: not masked, its length in the shortest form. */
function serverFrame(opcode: number, payload: Uint8Array, isFinal = true): Uint8Array {
  const { length } = payload;
  const header = [(isFinal ? 0x80 : 0) | opcode];
  if (length < 126) header.push(length);
  else if (length <= 0xffff) header.push(126, length >> 8, length & 0xff);
  else header.push(127, 0, 0, 0, 0, length >>> 24, length >>> 16, length >>> 8, length);
  return join([new Uint8Array(header), payload]);
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const piece of pieces) {
    joined.set(piece, offset);
    offset += piece.length;
  }
  return joined;
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** What a reader makes of bytes that come in pieces of a size. */
function read(bytes: Uint8Array, pieceBytes = bytes.length, maxMessageBytes = 1_000_000): string[] {
  const found: string[] = [];
  const reader = new MessageReader({ sender: "server", maxMessageBytes }, {
    text: (message, length) => found.push(`text ${length} ${message}`),
    binary: (message) => found.push(`binary ${message.toHex()}`),
    ping: (payload) => found.push(`ping ${payload.toHex()}`),
    close: (code, reason) => found.push(`close ${code} ${reason}`),
  });
  for (let at = 0; at < bytes.length; at += Math.max(1, pieceBytes)) {
    reader.receive(bytes.subarray(at, at + Math.max(1, pieceBytes)));
  }
  return found;
}

function failure(bytes: Uint8Array, maxMessageBytes?: number): number {
  try {
    read(bytes, bytes.length, maxMessageBytes);
  } catch (error) {
    assert.ok(error instanceof WebSocketError, String(error));
    return error.code;
  }
  return 0;
}

Deno.test("encodeFrame masks, and writes each length in its shortest form", () => {
  const key = new Uint8Array([0x37, 0xfa, 0x21, 0x3d]);
  // RFC 6455 section 5.7 has this frame.
  assert.equal(encodeFrame(Opcode.Text, utf8("Hello"), key).toHex(), "818537fa213d7f9f4d5158");
  for (
    const [length, header] of [[125, "82fd"], [126, "82fe007e"], [65_535, "82feffff"]] as const
  ) {
    assert.ok(encodeFrame(Opcode.Binary, new Uint8Array(length), key).toHex().startsWith(header));
  }
  const long = encodeFrame(Opcode.Binary, new Uint8Array(65_536), key);
  assert.ok(long.toHex().startsWith("82ff0000000000010000" + "37fa213d"));
  assert.equal(long.length, 14 + 65_536);
});

Deno.test("MessageReader reads what is sent, in pieces of every size", () => {
  const bytes = join([
    serverFrame(Opcode.Text, utf8("grüße")),
    serverFrame(Opcode.Binary, utf8("one "), false),
    serverFrame(Opcode.Ping, utf8("in between")),
    serverFrame(Opcode.Continuation, utf8("message"), true),
    serverFrame(Opcode.Pong, utf8("dropped")),
    serverFrame(Opcode.Text, utf8("")),
    serverFrame(Opcode.Binary, new Uint8Array(300).fill(7)),
    serverFrame(Opcode.Close, encodeClose(1000, "bye")),
    utf8("dropped as well"),
  ]);
  const whole = read(bytes);
  assert.deepEqual(whole.slice(0, 4), [
    "text 7 grüße",
    `ping ${utf8("in between").toHex()}`,
    `binary ${utf8("one message").toHex()}`,
    "text 0 ",
  ]);
  assert.equal(whole.at(-1), "close 1000 bye");
  for (const size of [1, 2, 3, 7, 64]) assert.deepEqual(read(bytes, size), whole, `${size} bytes`);
});

Deno.test("MessageReader hands a message on in parts where its owner wants them", () => {
  const content = Uint8Array.from({ length: 300 }, (_, at) => at);
  const bytes = join([
    serverFrame(Opcode.Binary, content),
    serverFrame(Opcode.Binary, content.subarray(0, 9)),
    serverFrame(Opcode.Binary, content, false),
    serverFrame(Opcode.Continuation, content),
    serverFrame(Opcode.Binary, content),
  ]);
  const offered: number[] = [];
  const parts: Uint8Array[] = [];
  const found: string[] = [];
  const reader = new MessageReader({ sender: "server", maxMessageBytes: 1_000 }, {
    text() {},
    binary: (message) => found.push(`whole ${message.length}`),
    ping() {},
    close() {},
    begins(_first, length) {
      offered.push(length);
      return length === 300;
    },
    part(part, isLast) {
      parts.push(part);
      if (!isLast) return;
      assert.deepEqual(join(parts), content);
      found.push(`${parts.splice(0).length > 1 ? "parts" : "one part"} of 300`);
    },
  });
  for (let at = 0; at < bytes.length; at += 100) reader.receive(bytes.slice(at, at + 100));
  // A message that a read holds whole is not offered, and neither is one in several frames.
  assert.deepEqual(offered, [300, 300]);
  assert.deepEqual(found, ["parts of 300", "whole 9", "whole 600", "parts of 300"]);
});

/** A reader of large messages, and what it has handed out. */
function largeMessages(isInParts: boolean) {
  const got: { readonly bytes: Uint8Array; readonly free: (() => void) | undefined }[] = [];
  const reader = new MessageReader({ sender: "server", maxMessageBytes: 1_000_000 }, {
    text() {},
    binary: (bytes, free) => got.push({ bytes, free }),
    ping() {},
    close() {},
    begins: () => isInParts,
    part: (bytes, _isLast, free) => got.push({ bytes, free }),
  });
  return { reader, got };
}

Deno.test("MessageReader frees what it has read once every message in it is freed", () => {
  const { reader, got } = largeMessages(false);
  const contents = [1, 2].map((fill) => new Uint8Array(20_000).fill(fill));
  const bytes = join(contents.map((content) => serverFrame(Opcode.Binary, content)));
  reader.receive(bytes);
  assert.deepEqual(got.map((message) => message.bytes), contents);
  got[0]!.free!();
  got[0]!.free!();
  assert.deepEqual(got[1]!.bytes, contents[1]);
  got[1]!.free!();
  assert.equal(bytes.buffer.byteLength, 0);
});

Deno.test("MessageReader frees what it has read of a message once that is joined", () => {
  const { reader, got } = largeMessages(false);
  const content = Uint8Array.from({ length: 50_000 }, (_, at) => at);
  const frame = serverFrame(Opcode.Binary, content);
  const reads = [frame.slice(0, 20_000), frame.slice(20_000, 40_000), frame.slice(40_000)];
  for (const read of reads) reader.receive(read);
  assert.deepEqual(got.map(({ bytes }) => bytes), [content]);
  // The last one is too small to be worth it.
  assert.deepEqual(reads.map(({ buffer }) => buffer.byteLength), [0, 0, frame.length - 40_000]);
  got[0]!.free!();
  assert.equal(got[0]!.bytes.length, 0);
});

Deno.test("MessageReader frees a part of a message with all else that came with it", () => {
  const { reader, got } = largeMessages(true);
  const frame = serverFrame(Opcode.Binary, new Uint8Array(50_000).fill(1));
  const next = serverFrame(Opcode.Binary, new Uint8Array(20_000).fill(2));
  const reads = [frame.slice(0, 30_000), join([frame.subarray(30_000), next])];
  for (const read of reads) reader.receive(read);
  assert.equal(got.length, 3);
  got[0]!.free!();
  got[1]!.free!();
  assert.deepEqual(reads.map(({ buffer }) => buffer.byteLength === 0), [true, false]);
  assert.deepEqual(got[2]!.bytes, new Uint8Array(20_000).fill(2));
  got[2]!.free!();
  assert.equal(reads[1]!.buffer.byteLength, 0);
});

Deno.test("MessageReader gives any content back that was framed", () => {
  check(fc.property(
    fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 8 }),
    fc.integer({ min: 1, max: 64 }),
    (contents, size) => {
      const bytes = join(contents.map((content) => serverFrame(Opcode.Binary, content)));
      assert.deepEqual(read(bytes, size), contents.map((content) => `binary ${content.toHex()}`));
    },
  ));
});

Deno.test("MessageReader takes any bytes or refuses them as a WebSocketError", () => {
  check(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    failure(bytes);
  }));
});

Deno.test("MessageReader refuses what breaks the protocol, with the code to answer", () => {
  const hex = (text: string) => Uint8Array.fromHex(text.replaceAll(" ", ""));
  const cases: [string, Uint8Array, number][] = [
    ["a reserved bit", hex("c1 00"), 1002],
    ["a masked frame", hex("81 80 00000000"), 1002],
    ["an unknown data frame", hex("83 00"), 1002],
    ["an unknown control frame", hex("8b 00"), 1002],
    ["a fragmented ping", hex("09 00"), 1002],
    ["a long ping", hex("89 7e 0100"), 1002],
    ["a continuation of nothing", hex("80 00"), 1002],
    ["a message inside another", hex("01 00 81 00"), 1002],
    ["a length that is too long for itself", hex("82 7e 0001 00"), 1002],
    ["a close code of one byte", hex("88 01 03"), 1002],
    ["a close code that is never sent", hex("88 02 03ed"), 1002],
    ["text that is not UTF-8", hex("81 01 ff"), 1007],
    ["a reason that is not UTF-8", hex("88 03 03e8 ff"), 1007],
  ];
  for (const [name, bytes, code] of cases) assert.equal(failure(bytes), code, name);
});

Deno.test("MessageReader refuses a message over its limit before it has come", () => {
  assert.equal(failure(Uint8Array.fromHex("827f7fffffffffffffff"), 1_000), CloseStatus.TooBig);
  const pieces = join([
    serverFrame(Opcode.Binary, new Uint8Array(600), false),
    serverFrame(Opcode.Continuation, new Uint8Array(600)),
  ]);
  assert.equal(failure(pieces, 1_000), CloseStatus.TooBig);
  assert.equal(failure(pieces, 1_200), 0);
});

Deno.test("encodeClose cuts a long reason between two characters", () => {
  const payload = encodeClose(1011, "ü".repeat(100));
  assert.equal(payload.length, 124);
  assert.deepEqual(read(serverFrame(Opcode.Close, payload)), [`close 1011 ${"ü".repeat(61)}`]);
  assert.equal(encodeClose(CloseStatus.None, "not sent").length, 0);
});

Deno.test("isCloseCode knows what may stand in a Close", () => {
  for (const code of [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999]) assert.ok(isCloseCode(code));
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000]) assert.ok(!isCloseCode(code));
});

Deno.test("acceptOf answers a key as RFC 6455 section 1.3 does", async () => {
  assert.equal(await acceptOf("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});
