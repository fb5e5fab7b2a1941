/** Upgrades through the tunnel: two HTTP connections become one raw one, in both directions. */
import { deepEqual, equal } from "node:assert/strict";
import { concatBytes } from "../support/byte_reader.ts";
import { within } from "../support/deadline.ts";
import { playing, record } from "./playing.ts";
import {
  answer,
  CREDENTIAL,
  requestHead,
  type Script,
  tunnelled,
  untilEnd,
  withTunnel,
} from "./tunnel.ts";
import { bodyText, latin1, latin1Text, readWireHead, statusOf, valuesOf } from "./wire.ts";

Deno.test("an upgrade turns both connections into one raw one", async (t) => {
  const switched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw-echo\r\n" +
    "X-Kept: 1\r\n\r\n";
  const upgrade = (path: string, protocol = "raw-echo"): string =>
    requestHead("GET", tunnelled(path), ["Connection: Upgrade", `Upgrade: ${protocol}`]);
  await withTunnel(async (tunnel) => {
    /** Upgrades a caller's connection and returns both ends of it. */
    const upgraded = async (path: string, first = "") => {
      const script: Script = async ({ connection }) => {
        await connection.write(switched + first);
        await connection.closed;
      };
      const pair = await playing(tunnel, path, script, (caller) => caller.write(upgrade(path)));
      const response = await within(readWireHead(pair.caller.reader), "the 101");
      return { ...pair, response };
    };

    await tunnel.step(
      t,
      "the 101 comes with its fields, the request with its protocol",
      async () => {
        const { caller, head, response } = await upgraded("/raw");
        await using _caller = caller;
        deepEqual(valuesOf(head, "upgrade"), ["raw-echo"]);
        deepEqual(valuesOf(head, "connection"), ["Upgrade"]);
        deepEqual(valuesOf(head, "authorization"), [`Bearer ${CREDENTIAL}`]);
        equal(response.startLine, "HTTP/1.1 101 Switching Protocols");
        deepEqual(response.fields, [
          ["X-Kept", "1"],
          ["Connection", "Upgrade"],
          ["Upgrade", "raw-echo"],
          ["X-Request-Id", valuesOf(head, "x-request-id")[0]],
        ]);
      },
    );

    await tunnel.step(
      t,
      "bytes right behind the 101 and right behind the request are not lost",
      async () => {
        const script: Script = async ({ connection }) => {
          await connection.write(switched + "from the target");
          await connection.closed;
        };
        const { caller, connection } = await playing(
          tunnel,
          "/at-once",
          script,
          (caller) => caller.write(upgrade("/at-once") + "from the caller"),
        );
        await using _caller = caller;
        await within(readWireHead(caller.reader), "the 101");
        equal(
          latin1Text(await within(caller.reader.readExactly(15), "the target's bytes")),
          "from the target",
        );
        equal(
          latin1Text(await within(connection.reader.readExactly(15), "the caller's bytes")),
          "from the caller",
        );
      },
    );

    await tunnel.step(t, "any bytes, both ways", async () => {
      const { caller, connection } = await upgraded("/bytes");
      await using _caller = caller;
      const sent = crypto.getRandomValues(new Uint8Array(60_000));
      const pieces = concatBytes(new Array(20).fill(sent));
      const back = within(caller.reader.readExactly(pieces.length), "the target's bytes");
      const there = within(connection.reader.readExactly(pieces.length), "the caller's bytes");
      await Promise.all([caller.write(pieces), connection.write(pieces)]);
      equal((await there).toHex(), pieces.toHex());
      equal((await back).toHex(), pieces.toHex());
    });

    await tunnel.step(t, "the caller's end leaves the target's direction open", async () => {
      const { caller, connection } = await upgraded("/caller-ends");
      await using _caller = caller;
      await caller.write("question");
      caller.end();
      equal(latin1Text(await within(connection.reader.readToEnd(), "the end")), "question");
      await connection.write("late answer");
      equal(latin1Text(await within(caller.reader.readExactly(11), "the answer")), "late answer");
      connection.end();
      equal((await within(caller.reader.readToEnd(), "the end")).length, 0);
      await within(Promise.all([caller.closed, connection.closed]), "both connections to close");
    });

    await tunnel.step(t, "the target's end leaves the caller's direction open", async () => {
      const { caller, connection } = await upgraded("/target-ends");
      await using _caller = caller;
      await connection.write("farewell");
      connection.end();
      equal(latin1Text(await within(caller.reader.readToEnd(), "the end")), "farewell");
      await caller.write("late question");
      equal(latin1Text(await within(connection.reader.readExactly(13), "it")), "late question");
      caller.end();
      equal((await within(connection.reader.readToEnd(), "the end")).length, 0);
      await within(Promise.all([caller.closed, connection.closed]), "both connections to close");
    });

    await tunnel.step(t, "a break on one side is a break on the other", async () => {
      const first = await upgraded("/target-breaks");
      await using caller = first.caller;
      first.connection.reset();
      equal((await untilEnd(caller)).isBroken, true);
      const second = await upgraded("/caller-breaks");
      second.caller.reset();
      equal((await untilEnd(second.connection)).isBroken, true);
    });

    await tunnel.step(t, "a target that does not change protocols just answers", async () => {
      await using caller = await tunnel.caller();
      record(tunnel, "/no", answer("HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"));
      await caller.write(upgrade("/no") + requestHead("GET", tunnelled("/next")));
      const response = await tunnel.answerOn(caller);
      deepEqual([statusOf(response), bodyText(response)], [426, "no"]);
      equal(bodyText(await tunnel.answerOn(caller)), "GET /next");
    });

    await tunnel.step(t, "SPDY/3.1 with a body of length zero, as kubectl asks", async () => {
      const fields = ["Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0"];
      const { caller, connection, head } = await playing(
        tunnel,
        "/spdy",
        async ({ connection }) => {
          await connection.write(switched.replace("raw-echo", "SPDY/3.1"));
          await connection.closed;
        },
        (caller) => caller.write(requestHead("POST", tunnelled("/spdy"), fields)),
      );
      await using _caller = caller;
      deepEqual(valuesOf(head, "upgrade"), ["SPDY/3.1"]);
      const response = await within(readWireHead(caller.reader), "the 101");
      deepEqual(valuesOf(response, "upgrade"), ["SPDY/3.1"]);
      await caller.write("frame");
      equal(latin1Text(await within(connection.reader.readExactly(5), "bytes")), "frame");
    });

    await tunnel.step(t, "a WebSocket says hello and is told the same", async () => {
      tunnel.scripts.set("/ws", echoWebSocket);
      const url = `ws://${tunnel.relay.internalAddress}${tunnelled("/ws")}`;
      const socket = new WebSocket(url, ["v5.channel.k8s.io"]);
      const opened = Promise.withResolvers<void>();
      const closed = Promise.withResolvers<void>();
      const echoed = Promise.withResolvers<unknown>();
      socket.onopen = () => opened.resolve();
      socket.onerror = () => opened.reject(new Error("The WebSocket failed"));
      socket.onmessage = ({ data }) => echoed.resolve(data);
      socket.onclose = () => closed.resolve();
      await within(opened.promise, "the handshake");
      equal(socket.protocol, "v5.channel.k8s.io");
      socket.send("hello through the tunnel");
      equal(await within(echoed.promise, "the echo"), "hello through the tunnel");
      socket.close();
      await within(closed.promise, "the close");
    });
  });
});

/** A WebSocket server of one short message, by hand: it says back what it is told, then closes. */
const echoWebSocket: Script = async ({ head, connection }) => {
  const key = valuesOf(head, "sec-websocket-key")[0]! + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", latin1(key)));
  const protocol = valuesOf(head, "sec-websocket-protocol")[0]!;
  await connection.write(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
      `Sec-WebSocket-Accept: ${digest.toBase64()}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`,
  );
  for (;;) {
    const [first, length] = await connection.reader.readExactly(2) as Uint8Array & [number, number];
    const mask = await connection.reader.readExactly(4);
    const payload = (await connection.reader.readExactly(length & 0x7f))
      .map((byte, at) => byte ^ mask[at % 4]!);
    await connection.write(concatBytes([Uint8Array.of(first, payload.length), payload]));
    const isClose = (first & 0x0f) === 8;
    if (isClose) break;
  }
  connection.end();
};
