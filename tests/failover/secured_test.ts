/** Sentinels and clusters that speak TLS and want passwords. */
import { match } from "node:assert/strict";
import { relayToken } from "../directory/relays.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { freePort } from "../support/free_port.ts";
import { type RunningRelay, startRelay } from "../support/programs.ts";
import { hasRedis } from "../support/redis.ts";
import { Server } from "./server.ts";

const program = "redis-server";
const dataPassword = "p@ss:of/data";
const sentinelPassword = "pass&of=sentinel";

/** A pair of ports, and how to listen on both. */
function ports(caPath: string, { certPath, keyPath }: KeyPairFiles) {
  const tlsPort = freePort();
  const files = [
    "--tls-cert-file",
    certPath,
    "--tls-key-file",
    keyPath,
    "--tls-ca-cert-file",
    caPath,
  ];
  const args = ["--tls-port", `${tlsPort}`, ...files, "--tls-auth-clients", "no"];
  return { tlsPort, args };
}

function startAt(directory: string, env: Record<string, string>): Promise<RunningRelay> {
  return startRelay({
    clusters: [{ id: "dev", token: "token-of-dev-0123456789", targetAddr: "127.0.0.1:1" }],
    args: ["--directory", directory, "--advertise", "http://127.0.0.1:0"],
    env: { RELAY_TOKEN: relayToken, ...env },
  });
}

async function isThere(directory: string, caPath: string): Promise<void> {
  await using relay = await startAt(directory, { DENO_CERT: caPath });
  await relay.waitForLog(({ message }) => message === "The directory is available");
}

/** A relay's words for why it cannot use a store. */
async function isAway(directory: string, error: RegExp, env: Record<string, string> = {}) {
  await using relay = await startAt(directory, env);
  const isAway = (message: string) => message.startsWith("The directory is unavailable");
  const line = await relay.waitForLog(({ message }) => isAway(message));
  match(String(line.error), error);
}

Deno.test({
  name: "Sentinels with TLS and a password of their own lead to a primary with TLS and another one",
  ignore: !hasRedis,
  fn: () =>
    withFolder(async (folder) => {
      const own = await Authority.create(folder, "own");
      const pair = await own.issue("redis", "IP:127.0.0.1");
      const data = ports(own.caPath, pair);
      const watch = ports(own.caPath, pair);
      await using _primary = await Server.start({
        program,
        args: [...data.args, "--tls-replication", "yes", "--requirepass", dataPassword],
      });
      await using _sentinel = await Server.start({
        program,
        mode: "--sentinel",
        args: [...watch.args, "--tls-replication", "yes"],
        config: [
          `requirepass ${sentinelPassword}`,
          `sentinel monitor main 127.0.0.1 ${data.tlsPort} 1`,
          `sentinel auth-pass main ${dataPassword}`,
        ],
      });
      const address = `${encodeURIComponent(dataPassword)}@127.0.0.1:${watch.tlsPort}`;
      const query = `sentinel-password=${encodeURIComponent(sentinelPassword)}`;
      await isThere(`rediss+sentinel://:${address}/main?${query}`, own.caPath);
      await isAway(`rediss+sentinel://:${address}/main?${query}`, /must come from a public CA/);
      const trusting = { DENO_CERT: own.caPath };
      await isAway(`rediss+sentinel://:${address}/other?${query}`, /No such master/, trusting);
      await isAway(`rediss+sentinel://:${address}/main`, /NOAUTH|HELLO/, trusting);
      const wrong = address.replace("data", "date");
      await isAway(`rediss+sentinel://:${wrong}/main?${query}`, /WRONGPASS/, trusting);
    }),
});

Deno.test({
  name: "a cluster with TLS and a password is used, and one with another name is not trusted",
  ignore: !hasRedis,
  fn: () =>
    withFolder(async (folder) => {
      const own = await Authority.create(folder, "own");
      const trusting = { DENO_CERT: own.caPath };
      for (const [holder, name] of [["right", "IP:127.0.0.1"], ["wrong", "DNS:redis"]] as const) {
        const { tlsPort, args } = ports(own.caPath, await own.issue(holder, name));
        const more = ["--tls-cluster", "yes", "--cluster-announce-ip", "127.0.0.1"];
        const cluster = ["--cluster-enabled", "yes", "--cluster-port", `${freePort()}`];
        await using node = await Server.start({ program, args: [...args, ...more, ...cluster] });
        await node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
        await node.ask("CONFIG", "SET", "requirepass", dataPassword);
        const password = encodeURIComponent(dataPassword);
        const url = `rediss+cluster://:${password}@127.0.0.1:${tlsPort}`;
        if (holder === "right") {
          await isThere(url, own.caPath);
          await isAway(url.replace("data", "date"), /WRONGPASS/, trusting);
        } else await isAway(url, /127\.0\.0\.1 is not in the cert's altnames/, trusting);
      }
    }),
});
