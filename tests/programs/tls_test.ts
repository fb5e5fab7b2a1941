/** TLS on every hop, with certificates made for the run: who is let in, and who is believed. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect, createServer } from "node:tls";
import { digestOf, taking } from "../interop/contents.ts";
import { UnexpectedEndError } from "../support/byte_reader.ts";
import { DeadlineError, within } from "../support/deadline.ts";
import {
  type LogLine,
  type RunningAgent,
  type RunningRelay,
  runProgram,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { ConnectionGoneError, RawConnection, splitAddress } from "../support/raw_connection.ts";
import { readHead, readRequest, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget, type TargetHandler } from "../support/target.ts";
import { download, service } from "../isolation/service.ts";
import {
  ask,
  assertNoSecrets,
  CLUSTER,
  lastLines,
  requestHead,
  secrets,
} from "../isolation/tunnel.ts";
import { Authority, type KeyPairFiles, runOpenssl, withFolder } from "../support/certificates.ts";

const timeoutMs = 60_000;

/** All certificates of a test. */
interface Certificates {
  readonly own: Authority;
  readonly foreign: Authority;
  readonly server: KeyPairFiles;
  readonly agent: KeyPairFiles;
  readonly caller: KeyPairFiles;
  readonly foreignCaller: KeyPairFiles;
}

async function makeCertificates(folder: string): Promise<Certificates> {
  const own = await Authority.create(folder, "own");
  const foreign = await Authority.create(folder, "foreign");
  return {
    own,
    foreign,
    server: await own.issue("server", "IP:127.0.0.1"),
    agent: await own.issue("agent", "DNS:agent"),
    caller: await own.issue("caller", "DNS:caller"),
    foreignCaller: await foreign.issue("caller", "DNS:caller"),
  };
}

/** Connects with TLS, and with a certificate if one is given; the relay may refuse it later. */
async function connectTls(
  address: string,
  authority: Authority,
  pair?: KeyPairFiles,
): Promise<RawConnection> {
  const options = {
    ...splitAddress(address),
    ca: await Deno.readTextFile(authority.caPath),
    // As node:net has it, and so node:tls, of which the types don't know it.
    allowHalfOpen: true,
  };
  const socket = connect({
    ...options,
    ...pair && {
      cert: await Deno.readTextFile(pair.certPath),
      key: await Deno.readTextFile(pair.keyPath),
    },
  });
  // The relay's refusal may come between the handshake and the first read, when nobody listens yet.
  socket.on("error", () => {});
  await within(once(socket, "secureConnect"), "the TLS handshake");
  return new RawConnection(socket as Socket);
}

async function callTls(
  relay: RunningRelay,
  certificates: Certificates,
  path: string,
  fields: readonly string[] = [],
): Promise<RawConnection> {
  const { own, caller } = certificates;
  const connection = await connectTls(relay.internalAddress, own, caller);
  await connection.write(requestHead("GET", path, fields));
  return connection;
}

/**
 * A whole answer as a caller of HTTP/1.0 gets it: its end is the connection's. Deno's own client says
 * when that comes without TLS's word for it, as most do; the one of node:tls does not.
 */
async function readUnframed(
  address: string,
  { own, caller }: Certificates,
  path: string,
): Promise<void> {
  const { host: hostname, port } = splitAddress(address);
  using connection = await Deno.connectTls({
    ...{ hostname, port },
    caCerts: [await Deno.readTextFile(own.caPath)],
    cert: await Deno.readTextFile(caller.certPath),
    key: await Deno.readTextFile(caller.keyPath),
  });
  const head = requestHead("GET", path).replace("HTTP/1.1", "HTTP/1.0");
  await connection.write(new TextEncoder().encode(head));
  const buffer = new Uint8Array(1024);
  while (await connection.read(buffer) !== null);
}

Deno.test("TLS with client certificates on both of the relay's listeners", async (t) => {
  await withFolder(async (folder) => {
    const certificates = await makeCertificates(folder);
    const { own, foreign, server, agent: agentPair, foreignCaller } = certificates;
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", own.caPath, "-log-level", "debug"],
      ],
    });
    const relayUrl = `wss://${relay.publicAddress}/connect`;
    const ownCa = ["-server-ca-cert", own.caPath];
    const pair = ["-client-cert", agentPair.certPath, "-client-key", agentPair.keyPath];
    const startOne = (args: readonly string[], waitsForSession: boolean, url = relayUrl) =>
      startAgent({
        ...{ relayUrl: url, token: secrets.token, target: target.address, waitsForSession },
        credential: secrets.credential,
        args: [...args, "-max-retry", "200ms", "-log-level", "debug"],
      });
    await using agent = await startOne([...ownCa, ...pair], true);
    try {
      await relay.waitForAgent(CLUSTER);

      await t.step("an agent without a certificate does not get in", async () => {
        await using lonely = await startOne(ownCa, false);
        await assertNotConnected(lonely, /--client-cert|its log has the reason/);
      });

      await t.step("an agent does not trust a relay of another authority", async () => {
        await using suspicious = await startOne(
          ["-server-ca-cert", foreign.caPath, ...pair],
          false,
        );
        await assertNotConnected(suspicious, /; --server-ca-cert must hold the CA/);
      });

      await t.step("an agent that expects another name than the relay's says so", async () => {
        const args = [...ownCa, ...pair, "-server-name", "other.example"];
        await using mistaken = await startOne(args, false);
        await assertNotConnected(mistaken, /; --server, or --server-name, must have/);
      });

      await t.step(
        "an agent that speaks no TLS to the relay says what would be right",
        async () => {
          await using mistaken = await startOne(pair, false, relayUrl.replace("wss:", "ws:"));
          await assertNotConnected(mistaken, /is reached by wss:\/\//);
        },
      );

      await t.step("a caller with a certificate is answered", async () => {
        await using caller = await callTls(relay, certificates, "/small");
        const answer = await within(readResponse(caller.reader), "the answer");
        equal(new TextDecoder().decode(answer.body), "small");
      });

      await t.step("a large download arrives whole", async () => {
        await using caller = await callTls(relay, certificates, "/download");
        equal(statusOf(await within(readHead(caller.reader), "the head")), 200);
        const digest = digestOf(taking(caller.reader, download.length));
        const expected = { length: download.length, checksum: download.checksum };
        deepEqual(await within(digest, "the download", timeoutMs), expected);
      });

      await t.step("an answer that breaks off is not taken for a whole one", async () => {
        await using bystander = await callTls(relay, certificates, "/half");
        equal(statusOf(await within(readHead(bystander.reader), "the head")), 200);
        await using caller = await callTls(relay, certificates, "/broken");
        const body = within(readResponse(caller.reader), "the chunked body to break off");
        await rejects(body, (error: Error) => !(error instanceof DeadlineError));
        const unframed = readUnframed(relay.internalAddress, certificates, "/broken");
        await rejects(
          within(unframed, "the unframed body to break off"),
          Deno.errors.UnexpectedEof,
        );
        equal(bystander.isEnded || bystander.isClosed, false, "others must not notice");
      });

      await t.step("an upgraded connection closes one half and hears the other out", async () => {
        const fields = ["Connection: Upgrade", "Upgrade: echo"];
        await using caller = await callTls(relay, certificates, "/echo", fields);
        equal(statusOf(await within(readHead(caller.reader), "the upgrade")), 101);
        await caller.write("ping");
        const echo = await within(caller.reader.readExactly(4), "the echo");
        equal(new TextDecoder().decode(echo), "ping");
        caller.end();
        const rest = await within(caller.reader.readToEnd(), "the target's last words");
        equal(new TextDecoder().decode(rest), "goodbye");
      });

      for (const listener of ["publicAddress", "internalAddress"] as const) {
        for (
          const [what, ca, pair] of [
            ["no certificate", own, undefined],
            ["another authority's certificate", own, foreignCaller],
          ] as const
        ) {
          await t.step(`nobody with ${what} is let in on the ${listener}`, async () => {
            await assertRefused(relay[listener], ca, pair);
          });
        }
      }

      await t.step("TLS 1.1 is refused, 1.2 is not", async () => {
        const { caller } = certificates;
        const dial = (version: string) =>
          runOpenssl([
            ...["s_client", "-connect", relay.internalAddress, "-CAfile", own.caPath, "-brief"],
            ...["-cert", caller.certPath, "-key", caller.keyPath, version],
            ...["-cipher", "DEFAULT:@SECLEVEL=0"],
          ]);
        const old = await dial("-tls1_1");
        equal(old.success, false);
        match(old.stderr, /alert (protocol version|handshake failure)/);
        const current = await dial("-tls1_2");
        ok(current.success, current.stderr);
        match(current.stderr, /Protocol version: TLSv1\.2/);
      });

      await assertNoSecrets(relay, agent);
    } catch (error) {
      console.error(lastLines(relay.program), lastLines(agent.program));
      throw error;
    }
  });
});

async function assertNotConnected(agent: RunningAgent, error: RegExp): Promise<void> {
  const { error: said } = await agent.waitForLog(({ message }) =>
    message === "Could not connect to relay"
  );
  match(String(said), error);
  await assertNoSecrets(agent);
  const log = await agent.completeLog();
  equal(log.some(({ message }) => message === "Connected to relay"), false);
}

/** In TLS 1.3 a client learns only after its handshake that the server did not like it. */
async function assertRefused(
  address: string,
  authority: Authority,
  pair: KeyPairFiles | undefined,
): Promise<void> {
  const exchange = async () => {
    await using caller = await connectTls(address, authority, pair);
    await caller.write("GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n");
    await readResponse(caller.reader);
  };
  await rejects(within(exchange(), "a refusal"), (error: Error & { code?: string }) => {
    const isBrokenOff = error instanceof UnexpectedEndError || error instanceof ConnectionGoneError;
    ok(isBrokenOff || /alert|certificate|ECONNRESET|EPIPE/i.test(String(error)), String(error));
    return true;
  });
}

Deno.test("TLS to the target: only the right certificate is believed, unless told otherwise", async (t) => {
  await withFolder(async (folder) => {
    const { own, foreign, server } = await makeCertificates(folder);
    const otherName = await own.issue("other", "DNS:other.example");
    await using target = await startTlsTarget(service, server);
    await using misnamed = await startTlsTarget(service, otherName);
    await using plain = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("plain"),
    );
    const plainAddress = `127.0.0.1:${plain.addr.port}`;
    const cases = [
      { id: "right", address: target.address, args: ["-ca-cert", own.caPath], status: 200 },
      {
        id: "foreign",
        address: target.address,
        args: ["-ca-cert", foreign.caPath],
        status: 502,
        says: "--ca-cert",
      },
      {
        id: "misnamed",
        address: misnamed.address,
        args: ["-ca-cert", own.caPath],
        status: 502,
        says: "--tls-server-name",
      },
      {
        id: "public",
        address: target.address,
        args: ["-ca-cert="],
        status: 502,
        says: "--ca-cert",
      },
      {
        id: "plain",
        address: plainAddress,
        args: ["-ca-cert="],
        status: 502,
        says: "--plain-target",
      },
      {
        id: "plain-insecure",
        address: plainAddress,
        args: ["-insecure"],
        status: 502,
        says: "--plain-target",
      },
      { id: "insecure", address: misnamed.address, args: ["-insecure"], status: 200 },
      {
        id: "named",
        address: misnamed.address,
        args: ["-ca-cert", own.caPath, "-tls-server-name", "other.example"],
        status: 200,
      },
      {
        id: "wrongly-named",
        address: target.address,
        args: ["-ca-cert", own.caPath, "-tls-server-name", "other.example"],
        status: 502,
        says: "--tls-server-name",
      },
    ];
    await using relay = await startRelay({
      clusters: cases.map(({ id, address }) => ({
        id,
        token: `${secrets.token}-${id}`,
        targetAddr: address,
      })),
    });
    for (const { id, address, args, status, says } of cases) {
      await t.step(`${id}: ${status}`, async () => {
        await using agent = await startAgent({
          relayUrl: relay.connectUrl,
          token: `${secrets.token}-${id}`,
          target: address,
          usesTlsTarget: true,
          credential: secrets.credential,
          args: [...args, "-log-level", "debug"],
        });
        await relay.waitForAgent(id);
        const answer = await ask(relay, "/small", id);
        equal(statusOf(answer), status);
        if (status === 502) {
          const { error } = JSON.parse(new TextDecoder().decode(answer.body));
          deepEqual(error, { code: "tls", message: "no trusted TLS connection to the target" });
          const line = await agent.waitForLog(({ message }) => message === "Request failed");
          deepEqual([line.code, line.target], ["tls", address]);
          ok(`${line.error} `.includes(` ${says} `), String(line.error));
        }
        await assertNoSecrets(agent);
      });
    }
    await assertNoSecrets(relay);
  });
});

Deno.test("with --insecure, an answer that ends where its connection does never looks whole", async () => {
  await withFolder(async (folder) => {
    const { own, server } = await makeCertificates(folder);
    await using target = await startTlsTarget(async (connection) => {
      await readRequest(connection.reader);
      await connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
      await connection.end();
    }, server);
    const cases = [
      { id: "verified", args: ["-ca-cert", own.caPath] },
      { id: "insecure", args: ["-insecure"] },
    ];
    await using relay = await startRelay({
      clusters: cases.map(({ id }) => ({
        id,
        token: `${secrets.token}-${id}`,
        targetAddr: target.address,
      })),
    });
    const start = async ({ id, args }: typeof cases[number]) => {
      const agent = await startAgent({
        relayUrl: relay.connectUrl,
        token: `${secrets.token}-${id}`,
        target: target.address,
        usesTlsTarget: true,
        args,
      });
      await relay.waitForAgent(id);
      return agent;
    };
    await using _verified = await start(cases[0]!);
    const answer = await ask(relay, "/", "verified");
    equal(new TextDecoder().decode(answer.body), "all of it");

    await using insecure = await start(cases[1]!);
    // What has not left the relay yet can still become an error; what has is broken off.
    const end = await ask(relay, "/", "insecure").then(statusOf, (error) => error);
    ok(end === 502 || end instanceof ConnectionGoneError, String(end));
    const line = await insecure.waitForLog(({ message }) => message === "Request failed");
    deepEqual([line.code, String(line.error).includes("--ca-cert")], ["reset", true]);
  });
});

/** A target that speaks TLS, on a free loopback port. */
async function startTlsTarget(handler: TargetHandler, pair: KeyPairFiles) {
  const connections: RawConnection[] = [];
  const failures: unknown[] = [];
  const server = createServer({
    cert: await Deno.readTextFile(pair.certPath),
    key: await Deno.readTextFile(pair.keyPath),
    allowHalfOpen: true,
  });
  // An agent that does not believe us breaks off; what it says about that is asserted.
  server.on("tlsClientError", () => {});
  server.on("secureConnection", (socket) => {
    const connection = new RawConnection(socket as Socket);
    connections.push(connection);
    Promise.resolve(handler(connection)).catch((error) => {
      const hasLeft = error instanceof UnexpectedEndError || error instanceof ConnectionGoneError;
      if (!hasLeft) failures.push(error);
      connection.destroy();
    });
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("The target has no TCP address");
  return {
    address: `127.0.0.1:${bound.port}`,
    async [Symbol.asyncDispose]() {
      for (const connection of connections) await connection[Symbol.asyncDispose]();
      const closed = once(server, "close");
      server.close();
      await closed;
      deepEqual(failures, []);
    },
  };
}

Deno.test("certificates and keys that no handshake could use are refused at start", async (t) => {
  await withFolder(async (folder) => {
    const { own, server, agent } = await makeCertificates(folder);
    const damagedPath = `${folder}/damaged.pem`;
    const block = (what: string) => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
    await Deno.writeTextFile(damagedPath, block("CERTIFICATE") + block("PRIVATE KEY"));
    const clusters = JSON.stringify([{ id: CLUSTER, token: secrets.token, targetAddr: "t:1" }]);
    const relay = (cert: string, key: string, ...more: string[]) => [
      ...["-clusters", clusters, "-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0"],
      ...["-tls-cert", cert, "-tls-key", key, ...more],
    ];
    const agentArgs = (...more: string[]) => [
      ...["-server", "wss://relay.example/connect", "-token", secrets.token, "-health-addr="],
      ...["-sa-token-path=", ...more],
    ];
    const cases = [
      {
        script: "relay.ts",
        args: relay(damagedPath, server.keyPath),
        says: /^relay: Option --tls-cert names ".*", whose first certificate is damaged\n$/,
      },
      {
        script: "relay.ts",
        args: relay(server.certPath, damagedPath),
        says: /^relay: Option --tls-key names ".*", whose private key is damaged\n$/,
      },
      {
        script: "relay.ts",
        args: relay(server.certPath, agent.keyPath),
        says: /^relay: Option --tls-key .* is not the key of the certificate in --tls-cert\n$/,
      },
      {
        script: "relay.ts",
        args: relay(server.certPath, server.keyPath, "-tls-client-ca", damagedPath),
        says: /^relay: Option --tls-client-ca names ".*", whose certificates are damaged\n$/,
      },
      {
        script: "agent.ts",
        args: agentArgs("-ca-cert", damagedPath),
        says: /^agent: Option --ca-cert names ".*", whose certificates are damaged\n$/,
      },
      {
        script: "agent.ts",
        args: agentArgs("-plain-target", "-server-ca-cert", damagedPath),
        says: /^agent: Option --server-ca-cert names ".*", whose certificates are damaged\n$/,
      },
      {
        script: "agent.ts",
        args: agentArgs(
          "-ca-cert",
          own.caPath,
          "-client-cert",
          agent.certPath,
          "-client-key",
          server.keyPath,
        ),
        says:
          /^agent: Option --client-key .* is not the key of the certificate in --client-cert\n$/,
      },
    ] as const;
    for (const { script, args, says } of cases) {
      await t.step(String(says), async () => {
        const { code, stdout, stderr } = await runProgram(script, args);
        deepEqual({ code, stdout }, { code: 2, stdout: "" });
        match(stderr, says);
      });
    }
  });
});

Deno.test("with --caller-ca no agent's certificate lets one call, and no caller's makes an agent", async (t) => {
  await withFolder(async (folder) => {
    const agents = await Authority.create(folder, "agents");
    const callers = await Authority.create(folder, "callers");
    const server = await agents.issue("relay", "IP:127.0.0.1");
    const agentPair = await agents.issue("agent", "DNS:agent");
    const callerPair = await callers.issue("caller", "DNS:caller");
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", agents.caPath, "-caller-ca", callers.caPath],
      ],
    });
    const start = (pair: KeyPairFiles, waitsForSession: boolean) =>
      startAgent({
        ...{ relayUrl: `wss://${relay.publicAddress}/connect`, token: secrets.token },
        ...{ target: target.address, waitsForSession },
        args: [
          ...["-server-ca-cert", agents.caPath, "-max-retry", "200ms"],
          ...["-client-cert", pair.certPath, "-client-key", pair.keyPath],
        ],
      });
    await using _agent = await start(agentPair, true);
    await relay.waitForAgent(CLUSTER);
    const { host: hostname, port } = splitAddress(relay.internalAddress);
    const ask = async (pair: KeyPairFiles): Promise<string> => {
      using client = Deno.createHttpClient({
        caCerts: [await Deno.readTextFile(agents.caPath)],
        cert: await Deno.readTextFile(pair.certPath),
        key: await Deno.readTextFile(pair.keyPath),
      });
      const url = `https://${hostname}:${port}/tunnel/${CLUSTER}/small`;
      const response = await fetch(url, { client });
      return await response.text();
    };
    await t.step("a caller's certificate calls", async () => equal(await ask(callerPair), "small"));
    await t.step("an agent's does not", async () => {
      await rejects(() => ask(agentPair), TypeError);
      const failed = ({ message, reason }: LogLine) =>
        message === "TLS handshake failed" && reason === "bad_certificate";
      await relay.waitForLog(failed);
    });
    await t.step("a caller's makes no agent", async () => {
      await using impostor = await start(callerPair, false);
      await impostor.waitForLog(({ message }) => message === "Could not connect to relay");
      const log = await relay.completeLog();
      equal(log.filter(({ message }) => message === "Agent connected").length, 1);
    });
  });
});
