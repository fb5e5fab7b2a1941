/** Certificates, keys and CAs that change while the programs run. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { eventually, within } from "../support/deadline.ts";
import {
  type LogLine,
  type Program,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { RawConnection, splitAddress } from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { service } from "../isolation/service.ts";
import { TcpProxy } from "../isolation/tcp_proxy.ts";
import {
  ask,
  assertNoSecrets,
  CLUSTER,
  lastLines,
  requestHead,
  secrets,
} from "../isolation/tunnel.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { SecretMount } from "./secret_mount.ts";

const read = (path: string) => Deno.readTextFile(path);

/** What a Secret of cert-manager holds. */
async function secretOf(pair: KeyPairFiles, ...cas: readonly Authority[]) {
  const texts = await Promise.all(cas.map(({ caPath }) => read(caPath)));
  return {
    "tls.crt": await read(pair.certPath),
    "tls.key": await read(pair.keyPath),
    "ca.crt": texts.join(""),
  };
}

/** A caller's connection. */
interface Caller extends AsyncDisposable {
  readonly connection: RawConnection;
  /** Names the certificate that the relay showed. */
  readonly relaySubject: string;
}

interface CallerOptions {
  readonly pair: KeyPairFiles;
  /** Authorities of the relay's certificate. */
  readonly trusted: readonly Authority[];
}

async function connectCaller(relay: RunningRelay, options: CallerOptions): Promise<Caller> {
  const socket = connect({
    ...splitAddress(relay.internalAddress),
    ca: await Promise.all(options.trusted.map(({ caPath }) => read(caPath))),
    cert: await read(options.pair.certPath),
    key: await read(options.pair.keyPath),
    ...{ allowHalfOpen: true },
  });
  socket.on("error", () => {});
  await within(once(socket, "secureConnect"), "the TLS handshake");
  const { subject } = socket.getPeerCertificate();
  const connection = new RawConnection(socket as Socket);
  return {
    ...{ connection, relaySubject: String(subject?.CN) },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

/** One request on a connection that is there. */
async function askOn({ connection }: Caller): Promise<void> {
  await connection.write(requestHead("GET", "/small"));
  const answer = await within(readResponse(connection.reader), "the answer");
  equal(statusOf(answer), 200);
  equal(new TextDecoder().decode(answer.body), "small");
}

/** One request on a connection of its own. @returns whose certificate the relay showed. */
async function askAnew(relay: RunningRelay, options: CallerOptions): Promise<string> {
  await using caller = await connectCaller(relay, options);
  await askOn(caller);
  return caller.relaySubject;
}

async function isRefused(relay: RunningRelay, options: CallerOptions): Promise<boolean> {
  const asking = askAnew(relay, options).then(() => false, () => true);
  return await within(asking, "an answer or a refusal");
}

interface ByOpenssl {
  /** Whether the session of an earlier call was taken up again. */
  readonly isResumed: boolean;
  readonly isAnswered: boolean;
}

/** Asks for `/healthz` by openssl, which keeps sessions: the client of node:tls has none to show. */
async function askByOpenssl(
  relay: RunningRelay,
  { certPath, keyPath }: KeyPairFiles,
  args: readonly string[],
): Promise<ByOpenssl> {
  const client = new Deno.Command("openssl", {
    args: [
      ...["s_client", "-connect", relay.internalAddress, "-ign_eof"],
      ...["-cert", certPath, "-key", keyPath, ...args],
    ],
    ...{ stdin: "piped", stdout: "piped", stderr: "null" },
  }).spawn();
  const output = client.output();
  const writer = client.stdin.getWriter();
  const request = "GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
  // A client that is refused may be gone by now: what it printed says so.
  await writer.write(new TextEncoder().encode(request)).catch(() => {});
  await writer.close().catch(() => {});
  const text = new TextDecoder().decode((await within(output, "openssl to end")).stdout);
  return { isResumed: /^Reused, /m.test(text), isAnswered: text.includes("HTTP/1.1 200 OK") };
}

const isReload = (result: "applied" | "refused") => ({ message }: { message: string }) =>
  message ===
    (result === "applied"
      ? "Configuration reloaded"
      : "Refused a changed configuration; the previous one stays in use");

/** An end that is not the agent's own doing: it would be one when the agent stops. */
const isLostSession = ({ message, level }: LogLine) =>
  message === "Disconnected from relay" && level === "warn";

/** Changes something and waits until the program has logged that. */
async function reload(
  program: Program,
  result: "applied" | "refused",
  change: () => Promise<void>,
): Promise<string> {
  const wait = { what: `a change to be ${result}` };
  return String((await program.logAfter(change, isReload(result), wait)).reason);
}

async function reloads(relay: RunningRelay, options: CallerOptions): Promise<string[]> {
  await using caller = await connectCaller(relay, options);
  await caller.connection.write(
    "GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n",
  );
  const { body } = await within(readResponse(caller.connection.reader), "the metrics");
  return new TextDecoder().decode(body).split("\n")
    .filter((line) => line.startsWith('culvert_config_reloads_total{source="tls"'));
}

Deno.test("the relay's certificate, key and client CA are replaced without a failed request", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const next = await Authority.create(folder, "next");
    const first = await own.issue("first", "IP:127.0.0.1");
    const second = await own.issue("second", "IP:127.0.0.1");
    const agentPair = await own.issue("agent", "DNS:agent");
    const oldCaller = { pair: await own.issue("caller", "DNS:caller"), trusted: [own, next] };
    const newCaller = { pair: await next.issue("caller", "DNS:caller"), trusted: [own, next] };
    const mount = await SecretMount.create(`${folder}/mount`, await secretOf(first, own));
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: [
        ...["-tls-cert", mount.path("tls.crt"), "-tls-key", mount.path("tls.key")],
        ...["-tls-client-ca", mount.path("ca.crt"), "-log-level", "debug"],
      ],
    });
    await using agent = await startAgent({
      relayUrl: `wss://${relay.publicAddress}/connect`,
      ...{ token: secrets.token, target: target.address, credential: secrets.credential },
      args: [
        ...["-server-ca-cert", own.caPath, "-client-cert", agentPair.certPath],
        ...["-client-key", agentPair.keyPath, "-log-level", "debug"],
      ],
    });
    try {
      await relay.waitForAgent(CLUSTER);
      // One that has been upgraded, and one that is kept: neither may notice a new certificate.
      await using echo = await connectCaller(relay, oldCaller);
      const upgrade = ["Connection: Upgrade", "Upgrade: echo"];
      await echo.connection.write(requestHead("GET", "/echo", upgrade));
      equal(statusOf(await within(readHead(echo.connection.reader), "the upgrade")), 101);
      await using kept = await connectCaller(relay, oldCaller);
      const assertEchoes = async () => {
        await echo.connection.write("ping");
        const bytes = await within(echo.connection.reader.readExactly(4), "the echo");
        equal(new TextDecoder().decode(bytes), "ping");
      };
      const assertUntouched = async () => {
        await assertEchoes();
        await askOn(kept);
      };
      await assertUntouched();

      await t.step("a new certificate, under load", async () => {
        equal(await askAnew(relay, oldCaller), "first");
        const seen: string[] = [];
        let isOver = false;
        const load = async () => {
          while (!isOver) seen.push(await askAnew(relay, oldCaller));
        };
        const loads = Promise.all([load(), load(), load()]);
        try {
          await reload(relay.program, "applied", async () => {
            await mount.update(await secretOf(second, own));
          });
          await eventually(() => seen.at(-1) === "second", "new handshakes to get the new one");
        } finally {
          isOver = true;
          await loads;
        }
        deepEqual(new Set(seen), new Set(["first", "second"]));
        equal(await askAnew(relay, oldCaller), "second");
        await assertUntouched();
      });

      await t.step("a key of another certificate is refused", async () => {
        const good = await secretOf(second, own);
        const reason = await reload(relay.program, "refused", async () => {
          await mount.update({ ...good, "tls.key": await read(first.keyPath) });
        });
        match(reason, /^Option --tls-key .* is not the key of the certificate in --tls-cert$/);
        equal(await askAnew(relay, oldCaller), "second");
      });

      await t.step("half a file is refused", async () => {
        const good = await secretOf(first, own, next);
        for (const name of ["tls.crt", "tls.key", "ca.crt"] as const) {
          const half = good[name].slice(0, good[name].length - 60);
          const reason = await reload(
            relay.program,
            "refused",
            () => mount.update({ ...good, [name]: half }),
          );
          match(reason, /damaged$|ends within a certificate$/);
          equal(await askAnew(relay, oldCaller), "second");
        }
        await assertUntouched();
        const lines = await reloads(relay, oldCaller);
        ok(lines.includes('culvert_config_reloads_total{source="tls",result="applied"} 1'));
        ok(lines.includes('culvert_config_reloads_total{source="tls",result="refused"} 4'));
      });

      const versions = ["-tls1_2", "-tls1_3"] as const;
      const sessionPath = (version: string) => `${folder}/session${version}`;
      const resume = (version: string) =>
        askByOpenssl(relay, oldCaller.pair, [version, "-sess_in", sessionPath(version)]);

      await t.step("a client CA that joins: both are let in, sessions are resumed", async () => {
        equal(await isRefused(relay, newCaller), true);
        for (const version of versions) {
          const saving = [version, "-sess_out", sessionPath(version)];
          const saved = await askByOpenssl(relay, oldCaller.pair, saving);
          deepEqual(saved, { isResumed: false, isAnswered: true });
        }
        await reload(relay.program, "applied", async () => {
          await mount.update(await secretOf(second, own, next));
        });
        equal(await askAnew(relay, newCaller), "second");
        equal(await askAnew(relay, oldCaller), "second");
        for (const version of versions) {
          deepEqual(await resume(version), { isResumed: true, isAnswered: true }, version);
        }
      });

      await t.step(
        "a client CA that leaves: its clients are out, with old sessions too",
        async () => {
          await reload(relay.program, "applied", async () => {
            await mount.update(await secretOf(second, next));
          });
          equal(await askAnew(relay, newCaller), "second");
          equal(await isRefused(relay, oldCaller), true);
          const expected = "The session's certificate is no longer trusted";
          for (const version of versions) {
            equal((await resume(version)).isAnswered, false, version);
          }
          const refusals = await relay.waitForLogs(
            versions.length,
            ({ detail }) => detail === expected,
          );
          for (const { message, reason, peer } of refusals) {
            deepEqual(
              [message, reason, peer],
              ["TLS handshake failed", "bad_certificate", "127.0.0.1"],
            );
          }
          // What it has begun goes on; but its kept connection takes no more requests.
          await assertEchoes();
          await within(kept.connection.reader.readToEnd(), "the kept connection to end");
        },
      );
      await t.step("the agent's session has lasted", async () => {
        echo.connection.destroy();
        const log = await agent.completeLog();
        deepEqual(log.filter(isLostSession), []);
      });
      await assertNoSecrets(relay, agent);
    } catch (error) {
      console.error(lastLines(relay.program), lastLines(agent.program));
      throw error;
    }
  });
});

Deno.test("an agent shows its new certificate and believes the new CA with its next connection", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const next = await Authority.create(folder, "next");
    const issueAll = async (authority: Authority) => ({
      server: await authority.issue("server", "IP:127.0.0.1"),
      agent: await authority.issue("agent", "DNS:agent"),
    });
    const [before, after] = [await issueAll(own), await issueAll(next)];
    const mount = await SecretMount.create(`${folder}/mount`, await secretOf(before.agent, own));
    await using target = await startRawTarget(service);
    const relayWith = (authority: Authority, server: KeyPairFiles) =>
      startRelay({
        clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
        args: [
          ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
          ...["-tls-client-ca", authority.caPath],
        ],
      });
    await using proxy = await TcpProxy.start();
    const old = await relayWith(own, before.server);
    proxy.upstream = old.publicAddress;
    await using agent = await startAgent({
      relayUrl: `wss://${proxy.address}/connect`,
      ...{ token: secrets.token, target: target.address, credential: secrets.credential },
      args: [
        ...["-server-ca-cert", mount.path("ca.crt"), "-client-cert", mount.path("tls.crt")],
        ...["-client-key", mount.path("tls.key"), "-max-retry", "200ms", "-log-level", "debug"],
      ],
    });
    const good = await secretOf(after.agent, next);
    const reason = await reload(agent.program, "refused", async () => {
      await mount.update({ ...good, "tls.key": await read(before.agent.keyPath) });
    });
    match(reason, /^Option --client-key .* is not the key of the certificate in --client-cert$/);
    await reload(agent.program, "applied", () => mount.update(good));

    await using relay = await relayWith(next, after.server);
    proxy.upstream = relay.publicAddress;
    await old.kill();
    await relay.waitForAgent(CLUSTER);
    const caller = { pair: after.agent, trusted: [next] };
    equal(await askAnew(relay, caller), "server");
    await assertNoSecrets(relay, agent);
    const lost = (await agent.completeLog()).filter(isLostSession);
    equal(lost.length, 1, "the session of the relay that was killed, and no other");
  });
});

Deno.test("an agent believes its target by a CA that comes later", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const foreign = await Authority.create(folder, "foreign");
    const server = await own.issue("server", "IP:127.0.0.1");
    const caPath = `${folder}/target-ca.crt`;
    await Deno.copyFile(foreign.caPath, caPath);
    await using target = await startRawTarget(service);
    // Another relay with TLS is a target that speaks TLS: its /healthz is asked for.
    await using behind = await startRelay({
      clusters: [{ id: "none", token: secrets.token, targetAddr: target.address }],
      args: ["-tls-cert", server.certPath, "-tls-key", server.keyPath],
    });
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: behind.publicAddress }],
    });
    await using agent = await startAgent({
      ...{ relayUrl: relay.connectUrl, token: secrets.token, target: behind.publicAddress },
      usesTlsTarget: true,
      args: ["-ca-cert", caPath],
    });
    await relay.waitForAgent(CLUSTER);
    equal(statusOf(await ask(relay, "/healthz")), 502);
    await reload(agent.program, "applied", () => Deno.copyFile(own.caPath, caPath));
    equal(statusOf(await ask(relay, "/healthz")), 200);
    const reason = await reload(agent.program, "refused", () => Deno.writeTextFile(caPath, "…"));
    match(reason, /^Option --ca-cert names .*, which is not PEM: .* -----BEGIN$/);
    equal(statusOf(await ask(relay, "/healthz")), 200);
  });
});

Deno.test("an agent's session ends with its client certificate, and says so; with a renewed one it is back", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("relay", "IP:127.0.0.1");
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: [
        ...["--tls-cert", server.certPath, "--tls-key", server.keyPath],
        ...["--tls-client-ca", authority.caPath],
      ],
    });
    const end = new Date(Math.ceil(Date.now() / 1000 + 12) * 1000);
    const brief = await authority.issueUntil("agent", end);
    await using agent = await startAgent({
      relayUrl: relay.connectUrl.replace("ws:", "wss:"),
      token: secrets.token,
      target: target.address,
      args: [
        ...["-server-ca-cert", authority.caPath, "-max-retry", "1s"],
        ...["-client-cert", brief.certPath, "-client-key", brief.keyPath],
      ],
    });
    await relay.waitForAgent(CLUSTER);
    const caller = await authority.issue("caller", "DNS:caller");
    equal(await askAnew(relay, { pair: caller, trusted: [authority] }), "relay");
    const line = await agent.waitForLog(({ message }) => message === "Disconnected from relay");
    ok(Date.now() >= end.getTime(), "not before its time");
    deepEqual([line.code, line.reason], [1008, "The client certificate has expired"]);
    await relay.waitForLog(({ message }) => message === "TLS handshake failed");

    const renewed = await authority.issue("renewed", "DNS:agent");
    const replace = async () => {
      await Deno.copyFile(renewed.keyPath, brief.keyPath);
      await Deno.copyFile(renewed.certPath, brief.certPath);
    };
    await relay.logAfter(replace, ({ message }) => message === "Agent connected", {
      what: "the agent with its renewed certificate",
    });
    equal(await askAnew(relay, { pair: caller, trusted: [authority] }), "relay");
  });
});

Deno.test("an agent whose client certificate ends soon is asked to show its renewed one, and loses nothing", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("relay", "IP:127.0.0.1");
    const caller = { pair: await authority.issue("caller", "DNS:caller"), trusted: [authority] };
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", authority.caPath],
      ],
    });
    // Some seconds more than the five minutes that are left when the agent is asked.
    const pair = await authority.issueUntil("agent", new Date(Date.now() + 310_000));
    await using agent = await startAgent({
      relayUrl: `wss://${relay.publicAddress}/connect`,
      ...{ token: secrets.token, target: target.address },
      args: [
        ...["-server-ca-cert", authority.caPath],
        ...["-client-cert", pair.certPath, "-client-key", pair.keyPath],
      ],
    });
    await relay.waitForAgent(CLUSTER);
    await using echo = await connectCaller(relay, caller);
    await echo.connection.write(
      requestHead("GET", "/echo", ["Connection: Upgrade", "Upgrade: echo"]),
    );
    equal(statusOf(await within(readHead(echo.connection.reader), "the upgrade")), 101);

    const renewed = await authority.issue("renewed", "DNS:agent");
    await reload(agent.program, "applied", async () => {
      await Deno.copyFile(renewed.keyPath, pair.keyPath);
      await Deno.copyFile(renewed.certPath, pair.certPath);
    });
    await relay.waitForLog(({ message }) =>
      message === "Agent's certificate expires soon; asked it to reconnect"
    );
    await relay.waitForLogs(2, ({ message }) => message === "Agent connected");
    equal(await askAnew(relay, caller), "relay");
    await echo.connection.write("ping");
    const bytes = await within(echo.connection.reader.readExactly(4), "the echo");
    equal(new TextDecoder().decode(bytes), "ping");
    echo.connection.destroy();
    deepEqual((await agent.completeLog()).filter(isLostSession), []);
  });
});
