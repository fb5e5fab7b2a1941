/** A PROXY header in front of TLS, as a balancer sends it that passes TLS through. */
import { equal } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AddressRanges } from "../../lib/domain/address_ranges.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";
import { loopbackCertificate } from "../support/certificates.ts";
import { within } from "../support/deadline.ts";
import { tlv, v2 } from "../support/proxy_header.ts";
import { RawConnection } from "../support/raw_connection.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";

Deno.test("HttpServer reads a PROXY header in front of TLS", async (t) => {
  const { ca, cert, key } = await loopbackCertificate();
  const peers: string[] = [];
  const faults: string[] = [];
  const server = new HttpServer({
    fetch: (_, { exchange: { peer } }) => {
      peers.push(`${peer.address} ${peer.isTls}`);
      return new Response("ok");
    },
    tls: { cert, key },
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: 0, maxPerAddress: 0 },
    proxies: { ranges: AddressRanges.parse("127.0.0.1")!, sendHeader: true },
    proxyHeaderRefused: (fault) => faults.push(fault),
    handshakeFailed: ({ peer }) => faults.push(`handshake of ${peer}`),
    fault: (error) => {
      throw error;
    },
  });
  const { port } = await server.listen("127.0.0.1", 0);
  const open = async (): Promise<Socket> => {
    const socket = connectTcp({ host: "127.0.0.1", port });
    await within(once(socket, "connect"), "a connection");
    return socket;
  };
  const header = new TextEncoder().encode("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n");
  const second = v2(0x21, 0x11, [
    ...[192, 0, 2, 8, 10, 0, 0, 1, 0, 80, 1, 187],
    ...tlv(0x20, [0, 0, 0, 0, 0]),
  ]);
  try {
    for (
      const [name, bytes, peer] of [["1", header, "192.0.2.7"], ["2", second, "192.0.2.8"]] as const
    ) {
      await t.step(`version ${name}`, async () => {
        const socket = await open();
        socket.write(bytes);
        const tls = connectTls({ socket, ca, servername: "localhost" });
        await within(once(tls, "secureConnect"), "the handshake");
        await using connection = new RawConnection(tls as Socket);
        await connection.write("GET / HTTP/1.1\r\nHost: relay\r\n\r\n");
        equal(statusOf(await within(readResponse(connection.reader), "an answer")), 200);
        equal(peers.at(-1), `${peer} true`);
      });
    }
    await t.step("a handshake that fails is the client's", async () => {
      const socket = await open();
      socket.write("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nno TLS at all\r\n\r\n");
      socket.resume();
      await within(once(socket, "close"), "the connection to be closed");
      equal(faults.at(-1), "handshake of 192.0.2.7");
    });
    await t.step("TLS without a header", async () => {
      const socket = await open();
      socket.on("error", () => {});
      const tls = connectTls({ socket, ca, servername: "localhost" });
      tls.on("error", () => {});
      await within(once(socket, "close"), "the connection to be closed");
      equal(faults.at(-1), "missing");
    });
  } finally {
    server.close();
  }
});
