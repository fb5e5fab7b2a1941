/** Connections whose client has shown a certificate, or has left, and what becomes of them. */
import { equal } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect } from "node:tls";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { RawConnection } from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";

const read = (path: string): string => Deno.readTextFileSync(path);
const request = "GET / HTTP/1.1\r\nHost: relay\r\n\r\n";

Deno.test("HttpServer takes no new request behind the end of the client's certificate", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const own = await authority.issue("relay", "IP:127.0.0.1");
    const client = await authority.issue("caller", "DNS:caller");
    const ca = read(authority.caPath);
    const slow = Promise.withResolvers<Response>();
    let epochMs = Date.now();
    const server = new HttpServer({
      fetch: ({ url }) => url.endsWith("/slow") ? slow.promise : new Response("ok"),
      tls: { cert: read(own.certPath), key: read(own.keyPath), clientCa: ca },
      limits: defaultHeadLimits,
      timeouts: defaultConnectionTimeouts,
      connections: { max: 0, maxPerAddress: 0 },
      fault: (error) => {
        throw error;
      },
      epochMs: () => epochMs,
    });
    const { hostname: host, port } = await server.listen("127.0.0.1", 0);
    const open = async (): Promise<RawConnection> => {
      const [cert, key] = [read(client.certPath), read(client.keyPath)];
      const socket = connect({ host, port, ca, cert, key, ...{ allowHalfOpen: true } });
      await within(once(socket, "secureConnect"), "the handshake");
      return new RawConnection(socket as Socket);
    };
    try {
      await using idle = await open();
      await using busy = await open();
      await idle.write(request);
      equal(statusOf(await within(readResponse(idle.reader), "an answer")), 200);
      await busy.write(request.replace("/", "/slow"));
      epochMs += 10 * 365 * 24 * 3_600_000;
      await within(idle.reader.readToEnd(), "the idle connection to end");
      slow.resolve(new Response("late"));
      equal(statusOf(await within(readHead(busy.reader), "the answer that was under way")), 200);
      await within(busy.reader.readToEnd(), "the busy connection to end, too");
    } finally {
      server.close();
    }
  });
});

Deno.test("HttpServer does not wait for a WebSocket whose client has left before it was accepted", async () => {
  const asked = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<string>();
  const server = new HttpServer({
    async fetch(_request, bindings) {
      asked.resolve();
      bindings.exchange.onAborted = () => gone.resolve();
      await gone.promise;
      await bindings.acceptWebSocket().then(
        () => outcome.resolve("accepted"),
        (error) => outcome.resolve(String(error)),
      );
      return bindings.alreadyAnswered;
    },
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: 0, maxPerAddress: 0 },
    fault: (error) => outcome.resolve(String(error)),
  });
  const { hostname: host, port } = await server.listen("127.0.0.1", 0);
  try {
    const socket = connectTcp({ host, port });
    socket.on("error", () => {});
    await within(once(socket, "connect"), "the connection");
    const handshake = [
      ...["GET /connect HTTP/1.1", "Host: relay", "Connection: Upgrade", "Upgrade: websocket"],
      ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""],
    ];
    socket.write(handshake.join("\r\n"));
    await within(asked.promise, "the head to be read");
    socket.resetAndDestroy();
    const said = await within(outcome.promise, "an answer to the wish for a WebSocket");
    equal(said, "Error: The connection ended before the WebSocket handshake");
    equal(server.openConnections, 0);
  } finally {
    server.close();
  }
});
