/** The agent's way to its relay through an HTTP proxy: names, credentials, TLS and refusals. */
import { deepEqual, equal, match } from "node:assert/strict";
import { digestOf } from "../interop/contents.ts";
import { ConnectProxy, type ConnectProxyOptions } from "../support/connect_proxy.ts";
import { eventually, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import { download, service } from "../isolation/service.ts";
import { askSmall, assertNoSecrets, CLUSTER, lastLines, secrets } from "../isolation/tunnel.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";

const password = "proxy-secret-p@ss/5%";
const userInUrl = `user:${encodeURIComponent(password)}`;
const authorization = `Basic ${new TextEncoder().encode(`user:${password}`).toBase64()}`;

/** A host that nobody but the tests' proxies knows. */
const host = "relay.test";

/** Deno itself would look for a newer version, through the proxy as well. */
const quiet = { DENO_NO_UPDATE_CHECK: "1" };

const downloadTimeoutMs = 60_000;

interface TlsRelay {
  readonly own: Authority;
  readonly relay: RunningRelay;
  readonly target: RawTarget;
  /** Certificate and key of a proxy that is reached by TLS. */
  readonly proxyPair: KeyPairFiles;
}

/** Runs `test` with a relay whose certificate is for {@link host} and, for callers, the loopback. */
async function withTlsRelay(test: (parts: TlsRelay) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const server = await own.issue("server", `DNS:${host},IP:127.0.0.1`);
    const proxyPair = await own.issue("proxy", "IP:127.0.0.1");
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: ["-tls-cert", server.certPath, "-tls-key", server.keyPath, "-log-level", "debug"],
    });
    await test({ own, relay, target, proxyPair });
  });
}

/** Asserts that a download through relay and agent is whole. */
async function assertServes({ own, relay }: TlsRelay): Promise<void> {
  const caCerts = [await Deno.readTextFile(own.caPath)];
  using client = Deno.createHttpClient({ caCerts });
  const url = `https://${relay.internalAddress}/tunnel/${CLUSTER}/download`;
  const response = await fetch(url, { client });
  equal(response.status, 200);
  const digest = digestOf(response.body!);
  const expected = { length: download.length, checksum: download.checksum };
  deepEqual(await within(digest, "the download", downloadTimeoutMs), expected);
}

Deno.test("an agent reaches its relay through a proxy, with credentials, TLS inside", async (t) => {
  await withTlsRelay(async (parts) => {
    const { own, relay, target, proxyPair } = parts;
    const tls = {
      cert: await Deno.readTextFile(proxyPair.certPath),
      key: await Deno.readTextFile(proxyPair.keyPath),
    };
    interface Case {
      readonly name: string;
      readonly proxy: ConnectProxyOptions;
      readonly scheme: string;
      readonly args?: (url: string) => readonly string[];
      readonly env?: (url: string) => Readonly<Record<string, string>>;
    }
    const cases: readonly Case[] = [
      {
        name: "HTTPS_PROXY, http://",
        proxy: { authorization },
        scheme: "http",
        env: (url) => ({ HTTPS_PROXY: url, NO_PROXY: "relay.example,10.0.0.0/8" }),
      },
      {
        name: "--proxy, https://",
        proxy: { authorization, tls },
        scheme: "https",
        args: (url) => ["--proxy", url, "--proxy-ca-cert", own.caPath],
        env: () => ({ HTTPS_PROXY: "http://127.0.0.1:9", NO_PROXY: "*" }),
      },
    ];
    for (const { name, proxy: options, scheme, args, env } of cases) {
      await t.step(name, async () => {
        await using proxy = await ConnectProxy.start({
          ...options,
          upstream: relay.publicAddress,
        });
        const url = `${scheme}://${userInUrl}@${proxy.address}`;
        await using agent = await startAgent({
          relayUrl: `wss://${host}/connect`,
          token: secrets.token,
          target: target.address,
          credential: secrets.credential,
          args: ["-server-ca-cert", own.caPath, "-log-level", "debug", ...args?.(url) ?? []],
          env: { ...quiet, ...env?.(url) },
        });
        try {
          await assertServes(parts);
          equal(proxy.heads.length, 1);
          match(proxy.heads[0]!, new RegExp(`^CONNECT ${host}:443 HTTP/1.1\r\n`));
          const { proxy: shown } = await agent.waitForLog(({ message }) =>
            message === "Connecting to relay"
          );
          equal(shown, `${scheme}://${proxy.address}`);
          await assertNoSecrets(agent);
          const log = JSON.stringify(await agent.completeLog());
          for (const secret of [password, encodeURIComponent(password), authorization]) {
            equal(log.includes(secret), false, "credentials were logged");
          }
        } catch (error) {
          console.error(lastLines(relay.program), lastLines(agent.program));
          throw error;
        }
      });
    }

    await t.step("the relay's certificate must be for the relay's name", async () => {
      await using proxy = await ConnectProxy.start({ upstream: relay.publicAddress });
      await using agent = await startAgent({
        relayUrl: "wss://other.test/connect",
        token: secrets.token,
        target: target.address,
        waitsForSession: false,
        args: ["-server-ca-cert", own.caPath, "-proxy", `http://${proxy.address}`],
      });
      const { error } = await agent.waitForLog(({ message }) =>
        message === "Could not connect to relay"
      );
      match(String(error), /other\.test.* is not in the cert's altnames/);
      await eventually(() => proxy.openConnections === 0, "the connection to go");
    });

    await t.step("--server-name says another name", async () => {
      await using proxy = await ConnectProxy.start({ upstream: relay.publicAddress });
      await using _agent = await startAgent({
        relayUrl: "wss://other.test/connect",
        token: secrets.token,
        target: target.address,
        args: [
          ...["-server-ca-cert", own.caPath, "-proxy", `http://${proxy.address}`],
          ...["-server-name", host],
        ],
      });
      match(proxy.heads[0]!, /^CONNECT other\.test:443 /);
    });
    await assertNoSecrets(relay);
  });
});

/** One agent meets them all, one with each attempt, and gets through in the end. */
Deno.test("an agent says what is wrong with its proxy, and connects once that is right", async () => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
  });
  await using proxy = await ConnectProxy.start({ upstream: relay.publicAddress });
  const refusals = [
    ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "The proxy asks for credentials"],
    ["HTTP/1.1 403 Forbidden\r\n\r\n", `The proxy does not allow connections to ${host}:80`],
    ["HTTP/1.1 502 Bad Gateway\r\n\r\n", `The proxy could not connect to ${host}:80`],
    ["220 mail.example ESMTP\r\n", "The proxy's answer is not HTTP/1.1"],
  ] as const;
  proxy.answers.push(...refusals.map(([says]) => ({ says })), "close");
  await using agent = await startAgent({
    relayUrl: `ws://${host}/connect`,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
    args: ["-max-retry", "50ms", "-log-level", "debug"],
    env: { ...quiet, http_proxy: proxy.address },
  });
  const log = await agent.logUntil(({ message }) => message === "Connected to relay");
  const errors = log.filter(({ message }) => message === "Could not connect to relay")
    .map(({ error }) => String(error));
  const expected = [...refusals.map(([, says]) => says), "The proxy closed the connection"];
  equal(errors.length, expected.length, errors.join("\n"));
  for (const [index, says] of expected.entries()) equal(errors[index]!.startsWith(says), true);
  await askSmall(relay);
  await eventually(() => proxy.openConnections === 1, "only the tunnel's connection to be left");
  await assertNoSecrets(relay, agent);
});
