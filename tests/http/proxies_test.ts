/** Proxies and balancers in front of the relay, which say for whom they ask. */
import { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { within } from "../support/deadline.ts";
import { v2 } from "../support/proxy_header.ts";
import { ConnectionGoneError, RawConnection, splitAddress } from "../support/raw_connection.ts";
import { record } from "./playing.ts";
import { requestHead, type Tunnel, tunnelled, withTunnel } from "./tunnel.ts";
import { latin1, statusOf, valuesOf, type WireMessage } from "./wire.ts";

/** Where all of 127.0.0.0/8 is this machine: the proxy is at 127.0.0.9, and everybody else at .1. */
const onLinux = { ignore: Deno.build.os !== "linux" };
const proxy = "127.0.0.9";
const trusting = ["--trusted-proxies", `${proxy},198.51.100.0/24`];

/** Opens a connection as the proxy, or from another of this machine's addresses. */
async function openFrom(tunnel: Tunnel, localAddress: string): Promise<RawConnection> {
  const address = splitAddress(tunnel.relay.internalAddress);
  const socket = connect({ ...address, localAddress, allowHalfOpen: true });
  await within(once(socket, "connect"), "a connection");
  return new RawConnection(socket);
}

/** Sends bytes and a request on a connection of its own. */
async function askFrom(
  tunnel: Tunnel,
  localAddress: string,
  fields: readonly string[],
  before: Uint8Array | string = "",
): Promise<WireMessage> {
  await using connection = await openFrom(tunnel, localAddress);
  if (before.length > 0) {
    await connection.write(typeof before === "string" ? latin1(before) : before);
  }
  await connection.write(latin1(requestHead("GET", tunnelled("/seen"), fields)));
  return await tunnel.answerOn(connection);
}

/** What the target was told of the last request. */
function told(requests: readonly WireMessage[]): string[] {
  const last = requests.at(-1)!;
  return ["for", "proto", "host"].map((name) => valuesOf(last, `x-forwarded-${name}`).join());
}

Deno.test(
  "a trusted proxy is believed for whom it asks, and nobody else is",
  onLinux,
  async (t) => {
    const audit = await Deno.makeTempFile();
    await withTunnel(async (tunnel) => {
      const requests = record(tunnel, "/seen");
      const fields = [
        "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 198.51.100.3",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: app.example",
      ];
      await tunnel.step(t, "the proxy: target, log and audit log have the client", async () => {
        equal(statusOf(await askFrom(tunnel, proxy, [...fields, "X-Request-Id: by-proxy"])), 200);
        deepEqual(told(requests), ["192.0.2.7", "https", "app.example"]);
        const line = await tunnel.relay.waitForLog((line) => line.request_id === "by-proxy");
        equal(line.peer, "192.0.2.7");
        const lines = (await Deno.readTextFile(audit)).trim().split("\n");
        const addresses = lines.map((line) => JSON.parse(line))
          .filter((line) => line.request_id === "by-proxy").map(({ address }) => address);
        deepEqual(new Set(addresses), new Set(["192.0.2.7"]));
      });
      await tunnel.step(t, "anybody else: none of it counts", async () => {
        equal(statusOf(await askFrom(tunnel, "127.0.0.1", fields)), 200);
        deepEqual(told(requests), ["127.0.0.1", "http", "caller.example"]);
      });
      await tunnel.step(t, "each request of one connection has its own client", async () => {
        await using connection = await openFrom(tunnel, proxy);
        for (const client of ["192.0.2.1", "192.0.2.2"]) {
          const head = requestHead("GET", tunnelled("/seen"), [`X-Forwarded-For: ${client}`]);
          await connection.write(latin1(head));
          equal(statusOf(await tunnel.answerOn(connection)), 200);
          deepEqual(told(requests), [client, "http", "caller.example"]);
        }
      });
      await tunnel.step(t, "the asked host decides nothing", async () => {
        const answer = await askFrom(tunnel, proxy, ["X-Forwarded-Host: localhost", "Host: evil"]);
        equal(statusOf(answer), 400, "two hosts");
        const hosts = requestHead("GET", tunnelled("/seen"), ["X-Forwarded-Host: localhost"])
          .replace("caller.example", "evil.example");
        await using connection = await openFrom(tunnel, proxy);
        await connection.write(latin1(hosts));
        equal(statusOf(await tunnel.answerOn(connection)), 421);
      });
    }, { relayArgs: [...trusting, "--audit-log", audit, "--hosts", "caller.example"] });
    await Deno.remove(audit);
  },
);

Deno.test(
  "refused credentials slow down the client behind a proxy, and no other",
  onLinux,
  async () => {
    const token = "a-callers-token-0123456789";
    const tokens = JSON.stringify([{ name: "a", token, clusters: ["*"] }]);
    await withTunnel(async (tunnel) => {
      const wrong = "Authorization: Bearer wrong-token-0123456789";
      for (let count = 0; count < 12; count++) {
        await askFrom(tunnel, proxy, ["X-Forwarded-For: 192.0.2.7", wrong]);
      }
      const answer = await askFrom(tunnel, proxy, ["X-Forwarded-For: 192.0.2.8", wrong]);
      equal(statusOf(answer), 401);
      const right = `Authorization: Bearer ${token}`;
      equal(statusOf(await askFrom(tunnel, proxy, ["X-Forwarded-For: 192.0.2.7", right])), 200);
      const log = await tunnel.relay.completeLog();
      const lines = log.filter(({ message }) => message === "Refused a caller");
      equal(
        lines.length > 0 && lines.every(({ peer }) => String(peer).startsWith("192.0.2.")),
        true,
      );
    }, { relayArgs: [...trusting, "--caller-tokens", tokens] });
  },
);

Deno.test("a balancer's PROXY header names the client, and must be there", onLinux, async (t) => {
  await withTunnel(async (tunnel) => {
    const requests = record(tunnel, "/seen");
    const headers: [string, string | Uint8Array, string][] = [
      ["version 1", "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", "192.0.2.7"],
      ["version 1, IPv6", "PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7"],
      ["version 1, of its own", "PROXY UNKNOWN\r\n", proxy],
      ["version 2", v2(0x21, 0x11, [192, 0, 2, 9, 10, 0, 0, 1, 0, 80, 1, 187]), "192.0.2.9"],
      ["version 2, of its own", v2(0x20, 0, []), proxy],
    ];
    for (const [name, header, address] of headers) {
      await tunnel.step(t, name, async () => {
        equal(statusOf(await askFrom(tunnel, proxy, [], header)), 200);
        deepEqual(told(requests), [address, "http", "caller.example"]);
      });
    }
    await tunnel.step(t, "in one piece with the request, and byte by byte", async () => {
      const bytes = latin1(
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n" + requestHead("GET", tunnelled("/seen")),
      );
      for (const size of [bytes.length, 1]) {
        await using connection = await openFrom(tunnel, proxy);
        for (let at = 0; at < bytes.length; at += size) {
          await connection.write(bytes.subarray(at, at + size));
        }
        equal(statusOf(await tunnel.answerOn(connection)), 200);
        deepEqual(told(requests), ["192.0.2.7", "http", "caller.example"]);
      }
    });
    await tunnel.step(
      t,
      "a proxy behind the balancer is believed if it is trusted too",
      async () => {
        const header = "PROXY TCP4 198.51.100.3 10.0.0.1 4711 443\r\n";
        const fields = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"];
        equal(statusOf(await askFrom(tunnel, proxy, fields, header)), 200);
        deepEqual(told(requests), ["192.0.2.7", "https", "caller.example"]);
        const untrusted = header.replace("198.51.100.3", "192.0.2.66");
        equal(statusOf(await askFrom(tunnel, proxy, fields, untrusted)), 200);
        deepEqual(told(requests), ["192.0.2.66", "http", "caller.example"]);
      },
    );
    const refused: [string, string | Uint8Array, string][] = [
      ["none", "", "missing"],
      ["one that is broken", "PROXY TCP4 192.0.2.7\r\n", "malformed"],
      ["one that is too long", v2(0x21, 0x11, Array<number>(600).fill(0)), "malformed"],
      ["one that does not come", "PROXY TC", "timeout"],
    ];
    for (const [name, header, reason] of refused) {
      await tunnel.step(t, `refused: ${name}`, async () => {
        await using connection = await openFrom(tunnel, proxy);
        const bytes = reason === "missing"
          ? latin1(requestHead("GET", tunnelled("/seen")))
          : header;
        await connection.write(typeof bytes === "string" ? latin1(bytes) : bytes);
        await within(connection.closed, "the connection to be closed");
        equal(connection.receivedText, "");
        const text = await metrics(tunnel);
        const line = `culvert_proxy_headers_refused_total{reason="${reason}"} `;
        equal(text.includes(line), true, text);
      });
    }
    await tunnel.step(t, "the log names the proxy and what it must do", async () => {
      const line = await tunnel.relay.waitForLog(({ reason }) => reason === "missing");
      equal(line.message, "Refused a connection without a PROXY header");
      equal(line.peer, proxy);
    });
    await tunnel.step(t, "from anybody else a header is no request", async () => {
      equal(statusOf(await askFrom(tunnel, "127.0.0.1", [])), 200);
      deepEqual(told(requests), ["127.0.0.1", "http", "caller.example"]);
      for (const header of headers.map(([, header]) => header)) {
        equal(await statusOrEnd(tunnel, header), 400);
      }
    });
  }, { relayArgs: [...trusting, "--proxy-protocol"] });
});

async function metrics(tunnel: Tunnel): Promise<string> {
  return await (await fetch(`http://${tunnel.relay.internalAddress}/metrics`)).text();
}

async function statusOrEnd(tunnel: Tunnel, before: string | Uint8Array): Promise<number> {
  try {
    return statusOf(await askFrom(tunnel, "127.0.0.1", [], before));
  } catch (error) {
    if (error instanceof ConnectionGoneError) return 0;
    throw error;
  }
}
