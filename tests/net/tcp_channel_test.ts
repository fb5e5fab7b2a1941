import { deepEqual, equal } from "node:assert/strict";
import { endMessage, TcpChannel, TcpClose, type TcpEnd } from "../../lib/net/tcp_channel.ts";
import { splice } from "../../lib/net/splice.ts";
import { ConnectingChannel } from "../../lib/net/connecting_channel.ts";
import type { Channel } from "../../lib/net/channel.ts";
import { StreamError } from "../../lib/protocol/errors.ts";
import type { MessageSocket, TunnelSocketEvents } from "../../lib/protocol/socket.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";

/** A WebSocket that does nothing by itself, and remembers what it was told. */
class FakeSocket implements MessageSocket {
  bufferedAmount = 0;
  readonly did: string[] = [];
  events!: TunnelSocketEvents;

  listen(events: TunnelSocketEvents): void {
    this.events = events;
  }

  send(message: Uint8Array): void {
    this.did.push(`bytes ${message.length}`);
  }

  sendText(text: string): void {
    this.did.push(text);
  }

  close(code: number, reason: string): void {
    this.did.push(`close ${code} ${reason}`.trimEnd());
  }

  terminate(): void {
    this.did.push("terminate");
  }

  pause(): void {
    this.did.push("pause");
  }

  resume(): void {
    this.did.push("resume");
  }
}

function setUp() {
  const socket = new FakeSocket();
  const ends: TcpEnd[] = [];
  const heard: string[] = [];
  const broken = () => ({ code: TcpClose.TargetBroke, reason: "it broke" });
  const channel = new TcpChannel(socket, { broken, over: (end) => ends.push(end) });
  channel.listen({
    data: (bytes) => heard.push(`data ${bytes.length}`),
    end: () => heard.push("end"),
    closed: () => heard.push("closed"),
    failed: ({ message }) => heard.push(`failed ${message}`),
    drained: () => heard.push("drained"),
  });
  return { socket, channel, heard, ends };
}

Deno.test("TcpChannel cuts bytes into messages of 64 KiB, and ends its direction with a text", () => {
  const { socket, channel } = setUp();
  channel.write(new Uint8Array(150_000));
  channel.end();
  channel.write(new Uint8Array(1));
  deepEqual(socket.did, ["bytes 65536", "bytes 65536", "bytes 18928", endMessage]);
});

Deno.test("TcpChannel closes with 1000 once it has finished, and takes a peer's 1000 only behind its end", () => {
  const first = setUp();
  first.socket.events.text(endMessage);
  first.channel.finish();
  deepEqual(first.socket.did, [endMessage, "close 1000", "resume"]);
  const second = setUp();
  second.socket.events.text('{"end":true,"later":1}');
  second.socket.events.closed(1000, "");
  deepEqual(second.heard, ["end", "closed"]);
  const third = setUp();
  third.socket.events.closed(1000, "");
  deepEqual(third.heard, ["failed the peer closed the connection before its end"]);
  deepEqual(third.ends.map(({ code, isRemote }) => [code, isRemote]), [[1006, true]]);
});

Deno.test("TcpChannel refuses what the subprotocol does not have", () => {
  for (const text of ["", "null", "{", '{"end":false}', "[]", "hello"]) {
    const { socket, heard } = setUp();
    socket.events.text(text);
    equal(socket.did[0], "close 1002 A text message is not the end of a direction", text);
    equal(heard.length, 1, text);
  }
  const { socket, heard } = setUp();
  socket.events.text(endMessage);
  socket.events.message(new Uint8Array(1));
  equal(socket.did[0], "close 1002 Bytes came after the end");
  deepEqual(heard, ["end", "failed Bytes came after the end"]);
});

Deno.test("TcpChannel stops reading while its consumer holds too much, and says when there is room", () => {
  const { socket, channel, heard } = setUp();
  for (let at = 0; at < 5; at++) socket.events.message(new Uint8Array(64 * 1024));
  deepEqual(socket.did, ["pause"]);
  channel.consumed(4 * 64 * 1024);
  deepEqual(socket.did, ["pause", "resume"]);
  socket.bufferedAmount = 300 * 1024;
  equal(channel.write(new Uint8Array(1)), false);
  socket.events.drained();
  equal(heard.includes("drained"), false, "as long as much is queued");
  socket.bufferedAmount = 0;
  socket.events.drained();
  equal(heard.at(-1), "drained");
});

Deno.test("TcpChannel tells a break with its code, and shortens a reason to what a Close holds", () => {
  const { socket, channel } = setUp();
  channel.fail(new StreamError("reset", "10.0.0.5 has gone"));
  equal(socket.did[0], "close 1011 it broke", "and not the address");
  const long = setUp();
  long.channel.closeWith(TcpClose.Withdrawn, "ä".repeat(100));
  equal(long.socket.did[0], `close 1008 ${"ä".repeat(61)}`);
});

/** A channel that remembers what it was told. */
class FakeChannel implements Channel {
  readonly canHalfClose = true;
  readonly did: string[] = [];
  hasRoom = true;
  events!: StreamEvents;

  listen(events: StreamEvents): void {
    this.events = events;
  }

  write(bytes: Uint8Array): boolean {
    this.did.push(`write ${bytes.length}`);
    return this.hasRoom;
  }

  end(): void {
    this.did.push("end");
  }

  finish(): void {
    this.did.push("finish");
  }

  close(): void {
    this.did.push("close");
  }

  fail({ message }: StreamError): void {
    this.did.push(`fail ${message}`);
  }

  consumed(bytes: number): void {
    this.did.push(`taken ${bytes}`);
  }
}

Deno.test("join passes bytes, ends and breaks on, and holds a fast side back", () => {
  const [first, second] = [new FakeChannel(), new FakeChannel()];
  const ends: (string | undefined)[] = [];
  splice(first, second, { closed: (error) => ends.push(error?.message) });
  first.events.data(new Uint8Array(3));
  second.hasRoom = false;
  first.events.data(new Uint8Array(4));
  deepEqual(first.did, ["taken 3"]);
  second.events.drained();
  deepEqual(first.did, ["taken 3", "taken 4"]);
  first.events.end();
  second.events.end();
  deepEqual(second.did, ["write 3", "write 4", "end", "finish"]);
  deepEqual(ends, [undefined]);
  const [third, fourth] = [new FakeChannel(), new FakeChannel()];
  const breaks: unknown[] = [];
  splice(third, fourth, { closed: (error) => breaks.push(error?.message) });
  third.events.failed(new StreamError("reset", "gone"));
  third.events.failed(new StreamError("reset", "again"));
  deepEqual(fourth.did, ["fail gone"]);
  deepEqual(breaks, ["gone"]);
});

Deno.test("ConnectingChannel keeps what comes before its listener, in order", () => {
  const inner = new FakeChannel();
  const heard: string[] = [];
  const channel = new ConnectingChannel(inner, {
    connected: () => heard.push("connected"),
    failed: ({ message }) => heard.push(`failed ${message}`),
  });
  inner.events.connected?.();
  inner.events.data(new Uint8Array(2));
  inner.events.end();
  inner.events.closed();
  deepEqual(heard, ["connected"]);
  channel.listen({
    data: (bytes) => heard.push(`data ${bytes.length}`),
    end: () => heard.push("end"),
    closed: () => heard.push("closed"),
    failed: () => heard.push("failed"),
    drained() {},
  });
  deepEqual(heard, ["connected", "data 2", "end", "closed"]);
  const lost = new FakeChannel();
  new ConnectingChannel(lost, {
    connected: () => heard.push("connected"),
    failed: ({ message }) => heard.push(`failed ${message}`),
  });
  lost.events.failed(new StreamError("refused", "no"));
  lost.events.closed();
  equal(heard.at(-1), "failed no");
});
