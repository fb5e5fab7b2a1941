/** Relays that speak TLS with each other, and show each other their certificates. */
import assert from "node:assert/strict";
import { bulkBytes, okWith, sha256 } from "../interop/contents.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { withName } from "../support/host_names.ts";
import { type RunningRelay, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { startPeer, tokenOf } from "./relays.ts";

const content = bulkBytes(3 * 1024 * 1024, 5);

Deno.test({
  name: "with mutual TLS, relays forward over TLS, and believe only their own authority",
  ignore: !hasRedis,
  async fn(t) {
    for (const hasCallerCa of [false, true]) {
      const name = hasCallerCa ? "callers' and relays', not agents'" : "everybody's";
      await t.step(name, () => forwardOverTls(hasCallerCa));
    }
  },
});

async function forwardOverTls(hasCallerCa: boolean): Promise<void> {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const foreign = await Authority.create(folder, "foreign");
    const agents = hasCallerCa ? foreign : own;
    const server = await own.issue("relay", "IP:127.0.0.1");
    const stranger = await foreign.issue("relay", "IP:127.0.0.1");
    const caller = await own.issue("caller", "DNS:caller");
    const agent = await agents.issue("agent", "DNS:agent");
    await using target = await startRawTarget(answering(() => okWith(content)));
    await using redis = await Redis.start();
    const start = (pair: KeyPairFiles, ...more: string[]): Promise<RunningRelay> =>
      startPeer({
        directory: redis.url,
        targets: { one: target.address },
        usesTls: true,
        args: [
          ...["-tls-cert", pair.certPath, "-tls-key", pair.keyPath],
          ...["-tls-client-ca", agents.caPath],
          ...hasCallerCa ? ["-caller-ca", own.caPath] : [],
          ...more,
        ],
      });
    await using holder = await start(server);
    await using other = await start(server);
    await using _agent = await startAgent({
      relayUrl: `wss://${holder.publicAddress}/connect`,
      token: tokenOf("one"),
      target: target.address,
      args: [
        ...["--server-ca-cert", own.caPath],
        ...["--client-cert", agent.certPath, "--client-key", agent.keyPath],
      ],
    });
    await holder.waitForAgent("one");
    using client = Deno.createHttpClient({
      caCerts: [await Deno.readTextFile(own.caPath), await Deno.readTextFile(foreign.caPath)],
      cert: await Deno.readTextFile(caller.certPath),
      key: await Deno.readTextFile(caller.keyPath),
    });
    const get = (relay: RunningRelay) =>
      fetch(`https://${relay.internalAddress}/tunnel/one/`, { client });
    for (let count = 0; count < 3; count++) {
      const response = await get(other);
      assert.equal(response.status, 200);
      assert.equal(sha256(await response.bytes()), sha256(content));
    }

    // Its own certificate is not from the authority that the others ask for.
    await using impostor = await start(stranger);
    // It believes no certificate but those of another authority.
    await using doubting = await start(server, "--relay-ca", foreign.caPath);
    await Promise.all([impostor, doubting].map(async (relay) => {
      const response = await get(relay);
      assert.equal(response.status, 502, await response.text());
      await saysWhy(relay);
    }));
  });
}

const podDomain = "culvert.pod.cluster.local";

Deno.test({
  name: "relays in pods forward by their pods' DNS names, which a wildcard certificate covers",
  ignore: !hasRedis,
  fn: () =>
    withFolder(async (folder) => {
      const authority = await Authority.create(folder, "relays");
      const covering = await authority.issue("relay", `DNS:*.${podDomain},DNS:localhost`);
      const other = await authority.issue("other", "DNS:relay.example.com,DNS:localhost");
      await using _name = await withName(`127-0-0-1.${podDomain}`);
      await using target = await startRawTarget(answering(() => okWith(content)));
      await using redis = await Redis.start();
      const start = (pair: KeyPairFiles): Promise<RunningRelay> =>
        startPeer({
          directory: redis.url,
          targets: { one: target.address, two: target.address },
          usesTls: true,
          host: `127.0.0.1.${podDomain}`,
          args: [
            ...["--tls-cert", pair.certPath, "--tls-key", pair.keyPath],
            ...["--relay-ca", authority.caPath, "--callers", "open", "--hosts", "localhost"],
          ],
        });
      await using covered = await start(covering);
      await using uncovered = await start(other);
      const serve = (relay: RunningRelay, cluster: string) =>
        startAgent({
          relayUrl: `wss://localhost:${portOf(relay.publicAddress)}/connect`,
          token: tokenOf(cluster),
          target: target.address,
          args: ["--server-ca-cert", authority.caPath],
        });
      await using _one = await serve(covered, "one");
      await using _two = await serve(uncovered, "two");
      await covered.waitForAgent("one");
      await uncovered.waitForAgent("two");
      using client = Deno.createHttpClient({
        caCerts: [await Deno.readTextFile(authority.caPath)],
      });
      const get = (relay: RunningRelay, cluster: string) =>
        fetch(`https://localhost:${portOf(relay.internalAddress)}/tunnel/${cluster}/`, { client });

      const forwarded = await get(uncovered, "one");
      assert.equal(forwarded.status, 200);
      assert.equal(sha256(await forwarded.bytes()), sha256(content));
      const refused = await get(covered, "two");
      assert.equal(refused.status, 502, await refused.text());
      await saysWhy(covered);
    }),
});

function portOf(address: string): string {
  return address.slice(address.lastIndexOf(":") + 1);
}

/** Waits until a relay's log says why it can't forward. */
async function saysWhy(relay: RunningRelay): Promise<void> {
  const message = "Could not forward to another relay";
  const line = await relay.waitForLog((line) => line.message === message);
  assert.match(String(line.error), /certificate|issuer|closed|alert/i);
}
