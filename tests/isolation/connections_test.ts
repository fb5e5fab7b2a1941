/** Idle connections by the hundred, towards the real programs: what they cost whom. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { Authority, withFolder } from "../support/certificates.ts";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { type LogLine, type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { ConnectionGoneError, RawConnection, splitAddress } from "../support/raw_connection.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { service } from "./service.ts";
import {
  askSmall,
  CLUSTER,
  metric,
  relayLogUpToNow,
  secrets,
  untilOpen,
  withTunnel,
} from "./tunnel.ts";

/** Where all of 127.0.0.0/8 is this machine. */
const onLinux = { ignore: Deno.build.os !== "linux" };

const healthz = "GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n";

/** Connects from one of this machine's addresses. */
async function openFrom(localAddress: string, address: string): Promise<RawConnection> {
  const socket = connect({ ...splitAddress(address), localAddress, allowHalfOpen: true });
  await within(once(socket, "connect"), "a connection");
  return new RawConnection(socket);
}

/** A connection from one of this machine's addresses that is served; nothing if it is reset. */
async function servedFrom(
  localAddress: string,
  address: string,
): Promise<RawConnection | undefined> {
  let connection: RawConnection | undefined;
  try {
    connection = await openFrom(localAddress, address);
    await connection.write(healthz);
    equal(statusOf(await within(readResponse(connection.reader), "an answer")), 200);
    return connection;
  } catch (error) {
    await connection?.[Symbol.asyncDispose]();
    // The reset may come before the connection is known to be there.
    const isReset = error instanceof ConnectionGoneError ||
      (error as { code?: string }).code === "ECONNRESET";
    if (!isReset) throw error;
    return undefined;
  }
}

/** The lines about connections that were refused. */
async function refusals(relay: RunningRelay): Promise<readonly unknown[]> {
  const isRefusal = ({ message }: LogLine) => message === "Refused a connection";
  await relay.waitForLog(isRefusal);
  return (await relayLogUpToNow(relay)).filter(isRefusal)
    .map(({ level, listener, limit, peer }) => ({ level, listener, limit, peer }));
}

Deno.test(
  "one address can't take the agents' port, and its agents' sessions don't count",
  onLinux,
  async () => {
    const relayArgs = ["--max-connections-per-address", "4"];
    await withTunnel({ relayArgs }, async (tunnel) => {
      const { relay } = tunnel;
      const { publicAddress } = relay;
      const idle: (RawConnection | undefined)[] = [];
      const close = async (): Promise<void> => {
        for (const connection of idle.splice(0)) await connection?.[Symbol.asyncDispose]();
      };
      for (let count = 0; count < 4; count++) {
        idle.push(await servedFrom("127.0.0.1", publicAddress));
      }
      ok(!idle.includes(undefined));
      equal(await servedFrom("127.0.0.1", publicAddress), undefined);
      const met = { level: "warn", listener: "public", limit: "max-connections-per-address" };
      equal(JSON.stringify(await refusals(relay)), JSON.stringify([{ ...met, peer: "127.0.0.1" }]));
      await untilEqual(() => metric(relay.internalAddress, "culvert_limit_hits_total"), 1);

      idle.push(await servedFrom("127.0.0.2", publicAddress));
      ok(idle.at(-1), "another address is served");
      await askSmall(relay);
      // Callers' listener has no such limit: all of them may come through one proxy.
      for (let count = 0; count < 8; count++) {
        idle.push(await servedFrom("127.0.0.1", relay.internalAddress));
        ok(idle.at(-1), "a caller is served");
      }
      await close();
      await eventually(async () => {
        idle.push(await servedFrom("127.0.0.1", publicAddress));
        return idle.at(-1) !== undefined;
      }, "room for another");
      await close();
      await untilOpen(tunnel, 0);
    });
  },
);

Deno.test(
  "more connections than --max-connections are reset, whatever they would be, and counted",
  onLinux,
  async () => {
    await withTunnel({ relayArgs: ["--max-connections", "6"] }, async ({ relay }) => {
      const { publicAddress, internalAddress } = relay;
      const idle: (RawConnection | undefined)[] = [];
      try {
        // One is the agent's session.
        for (let count = 0; count < 5; count++) {
          idle.push(await servedFrom(`127.0.0.${count + 2}`, publicAddress));
          ok(idle.at(-1), `${count}`);
        }
        equal(await servedFrom("127.0.0.9", publicAddress), undefined);
        await relay.waitForLog(({ limit }) => limit === "max-connections");
        const text = await (await fetch(`http://${internalAddress}/metrics`)).text();
        ok(text.includes('culvert_connections{listener="public"} 6\n'), text);
        ok(text.includes('culvert_limit_hits_total{limit="max-connections"} 1\n'), text);
        await askSmall(relay);
      } finally {
        for (const connection of idle) await connection?.[Symbol.asyncDispose]();
      }
    });
  },
);

Deno.test("connections whose TLS handshake does not come count, and leave no place taken", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const { certPath, keyPath } = await authority.issue("relay", "IP:127.0.0.1");
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: ["--tls-cert", certPath, "--tls-key", keyPath, "--max-connections-per-address", "3"],
    });
    const options = { relayUrl: relay.connectUrl.replace("ws:", "wss:"), target: target.address };
    const args = ["-server-ca-cert", authority.caPath];
    await using agent = await startAgent({ ...options, token: secrets.token, args });
    const silent = [];
    for (let count = 0; count < 3; count++) {
      silent.push(await openFrom("127.0.0.1", relay.publicAddress));
    }
    const handshake = async (): Promise<boolean> => {
      const ca = await Deno.readTextFile(authority.caPath);
      const { host, port } = splitAddress(relay.publicAddress);
      const socket = connectTls({ host, port, ca });
      try {
        return await within(
          Promise.race([
            once(socket, "secureConnect").then(() => true),
            once(socket, "close").then(() => false),
          ]).catch(() => false),
          "a handshake, or its end",
        );
      } finally {
        socket.destroy();
      }
    };
    ok(!await handshake());
    await relay.waitForLog(({ limit }) => limit === "max-connections-per-address");
    for (const connection of silent) await connection[Symbol.asyncDispose]();
    await eventually(handshake, "a place that was left");
    // What was turned away is no handshake that failed.
    const isLost = ({ message, level }: LogLine) =>
      message === "Disconnected from relay" && level === "warn";
    deepEqual((await agent.completeLog()).filter(isLost), []);
    const isFailed = ({ reason }: LogLine) => reason === "other";
    deepEqual((await relay.completeLog()).filter(isFailed), []);
  });
});
