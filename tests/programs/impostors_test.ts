/**
 * Servers that are not who they say they are. Each client of the programs refuses them before it has
 * written a byte: no token, no credential of a proxy, no request.
 */
import { equal, match, ok, rejects } from "node:assert/strict";
import { dialPeer } from "../../lib/runtime/deno/dial_peer.ts";
import { dialTlsTarget } from "../../lib/runtime/deno/dial_tls_target.ts";
import { dialThroughProxy } from "../../lib/runtime/node/dial_proxy.ts";
import { dialNamedTarget } from "../../lib/runtime/node/dial_named_target.ts";
import { dialService } from "../../lib/runtime/node/access/dial_service.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { Authority, type KeyPairFiles, openssl, withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { startRelay } from "../support/programs.ts";
import { startTlsListener } from "../support/tls_listener.ts";

const read = (path: string) => Deno.readTextFileSync(path);
const never = new AbortController().signal;
const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
const token = "a-token-that-impostors-want";
const dayMs = 86_400_000;

/** What a server shows. */
interface Shown {
  readonly what: string;
  readonly cert: string;
  readonly key: string;
  /** What clients say of it; nothing for the server that is right. */
  readonly says?: RegExp;
}

/** Makes the authority that clients trust, and servers of every kind. */
async function makeServers(folder: string): Promise<{ ca: string; caPath: string; all: Shown[] }> {
  const own = await Authority.create(folder, "own");
  await Deno.mkdir(`${folder}/impostor`);
  // The same name, another key.
  const impostor = await Authority.create(`${folder}/impostor`, "own");
  const shown = (what: string, { certPath, keyPath }: KeyPairFiles, says?: RegExp, more = "") => ({
    ...{ what, cert: read(certPath) + more, key: read(keyPath) },
    ...says && { says },
  });
  const middle = await impostor.issueVersion1("middle");
  const behindMiddle = await Authority.of(folder, "middle", middle).issueWith("behind", {
    extensions: [names],
  });
  const self: KeyPairFiles = { certPath: `${folder}/self.crt`, keyPath: `${folder}/self.key` };
  await openssl(
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=self", "-addext", names],
    ...["-keyout", self.keyPath, "-out", self.certPath],
  );
  const narrow = await own.issueWith("narrow", {
    extensions: [
      "basicConstraints=critical,CA:TRUE",
      "nameConstraints=critical,permitted;DNS:other.example,excluded;IP:127.0.0.0/255.0.0.0",
    ],
  });
  const caLeaf = ["basicConstraints=CA:TRUE", names];
  const now = Date.now();
  const between = (holder: string, from: number, to: number) =>
    own.issueBetween(holder, new Date(from), new Date(to), "DNS:localhost,IP:127.0.0.1");
  const all = [
    shown("the right one", await own.issueWith("right", { extensions: [names] })),
    shown("a forgery of version 1", await impostor.issueVersion1("forged"), /version 1/),
    shown(
      "a forgery of version 3",
      await impostor.issueWith("forged3", { extensions: [names] }),
      /trusted|--\S+ must hold/,
    ),
    shown(
      "a forgery behind an intermediate CA of version 1",
      behindMiddle,
      /version 1|trusted/,
      read(middle.certPath),
    ),
    shown("the CA's own certificate of version 1", await own.issueVersion1("old"), /version 1/),
    shown(
      "one without names",
      await own.issueWith("bare", { extensions: ["keyUsage=digitalSignature"] }),
      /subjectAltName/,
    ),
    shown(
      "another name",
      await own.issueWith("other", { extensions: ["subjectAltName=DNS:x"] }),
      /x/,
    ),
    shown(
      "a URI that reads like a name",
      await own.issueWith("uri", {
        extensions: [
          "subjectAltName=@n",
          "[n]",
          "DNS.1=x",
          "URI.1=a://b, DNS:localhost, IP Address:127.0.0.1",
        ],
      }),
      /x/,
    ),
    shown(
      "a CA's certificate",
      await own.issueWith("both", { extensions: caLeaf }),
      /CA:TRUE.*CA:FALSE/,
    ),
    shown(
      "one for clients alone",
      await own.issueWith("client", { extensions: [names, "extendedKeyUsage=clientAuth"] }),
      /extendedKeyUsage.*serverAuth/,
    ),
    shown(
      "one of a CA's for other names",
      await Authority.of(folder, "narrow", narrow).issueWith("outside", { extensions: [names] }),
      /nameConstraints/,
      read(narrow.certPath),
    ),
    shown(
      "one that expired",
      await between("gone", now - 9 * dayMs, now - dayMs),
      /expired on .*clock says/,
    ),
    shown(
      "one of the future",
      await between("soon", now + dayMs, now + 9 * dayMs),
      /valid from .*clock says/,
    ),
  ];
  return { ca: read(own.caPath), caPath: own.caPath, all };
}

/** A client that connects to a server and says something that is worth stealing, until `signal`. */
type Client = (
  server: { port: number; address: string },
  ca: string,
  signal: AbortSignal,
) => Promise<unknown>;

const timeoutMs = 20_000;

/** Says the token on a connection that is there, and leaves it when it is told to. */
async function sayToken(
  socket: { write(bytes: Uint8Array): unknown; destroy(): void },
  signal: AbortSignal,
): Promise<void> {
  socket.write(new TextEncoder().encode(token));
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  socket.destroy();
}

const clients: Readonly<Record<string, Client>> = {
  "the agent to its relay": ({ address }, ca, signal) =>
    dialRelay({ url: `wss://${address}/connect`, token, ca, timeoutMs }, signal),
  "the agent to its proxy": ({ port }, caPem, signal) => {
    const proxy = {
      isTls: true,
      hostname: "127.0.0.1",
      port,
      authorization: `Basic ${token}`,
      caPem,
    };
    return dialThroughProxy(proxy, "relay.example:443", signal);
  },
  "the agent to its target": async ({ port }, ca, signal) => {
    const target = { hostname: "127.0.0.1", port, ca, timeoutMs };
    await sayToken(await dialTlsTarget(target, never), signal);
  },
  "the agent to a target by its name": async ({ port }, ca, signal) => {
    const target = { hostname: "127.0.0.1", port, serverName: "localhost", ca, alpn: [] };
    await sayToken(await dialNamedTarget({ ...target, timeoutMs }, never), signal);
  },
  "access to its relay": ({ port }, ca, signal) => {
    const service = {
      ...{ name: "pg", origin: `https://localhost:${port}`, tcpPath: "/.culvert/tcp" },
      ...{ isInternal: false, address: { hostname: "127.0.0.1", port }, tls: { ca } },
      readToken: () => token,
    };
    return dialService(service, signal);
  },
  "a relay to another": async ({ address }, ca, signal) => {
    await sayToken(await dialPeer(`https://${address}`, { ca }, never), signal);
  },
};

Deno.test("no client writes a byte to an impostor, and each says what is wrong", async (t) => {
  await withFolder(async (folder) => {
    const { ca, all } = await makeServers(folder);
    for (const [client, connect] of Object.entries(clients)) {
      for (const { what, cert, key, says } of all) {
        await t.step(`${client}: ${what}`, async () => {
          await using server = await startTlsListener(cert, key);
          if (says === undefined) {
            const heard = new AbortController();
            const attempt = connect(server, ca, heard.signal).catch(() => {});
            await eventually(() => server.received.includes(token), "the server to hear of it");
            heard.abort();
            await attempt;
            return;
          }
          await rejects(connect(server, ca, never), (error: Error) => {
            match(error.message, says);
            ok(!error.message.includes("\n"), error.message);
            return true;
          });
          equal(server.received, "");
          equal(server.connections, 1);
        });
      }
    }
  });
});

Deno.test("a chain with a damaged certificate in it ends the attempt, and nothing else", async () => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const pair = await own.issueWith("right", { extensions: [names] });
    const damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    await using server = await startTlsListener(read(pair.certPath) + damaged, read(pair.keyPath));
    const ca = read(own.caPath);
    for (const client of ["the agent to its relay", "the agent to its proxy"]) {
      await rejects(clients[client]!(server, ca, never), /certificates are damaged/);
    }
    equal(server.received, "");
  });
});

Deno.test("Redis, the issuer of JWTs and the collector of traces: an impostor hears nothing of them", async (t) => {
  await withFolder(async (folder) => {
    const { caPath, all } = await makeServers(folder);
    const [right, forged] = [all[0]!, all[1]!];
    const cluster = { id: "dev", token, targetAddr: "127.0.0.1:1" };
    const starts = {
      "a relay to Redis": (port: number) =>
        startRelay({
          clusters: [cluster],
          args: [
            ...["--directory", `rediss://user:${token}@127.0.0.1:${port}`],
            ...["--advertise", "http://127.0.0.1:0", "--relay-token", token],
          ],
          env: { DENO_CERT: caPath },
        }),
      "a relay to the issuer": (port: number) =>
        startRelay({
          clusters: [cluster],
          args: [
            ...["--caller-jwt-issuer", "https://issuer.example", "--caller-jwt-audience", "me"],
            ...["--caller-jwks-url", `https://127.0.0.1:${port}/jwks`],
            ...["--caller-jwt-rules", '[{"claim":"sub","value":"a","clusters":["dev"]}]'],
          ],
          env: { DENO_CERT: caPath },
        }),
      "a relay to the collector": async (port: number) => {
        const relay = await startRelay({
          clusters: [cluster],
          env: {
            DENO_CERT: caPath,
            OTEL_DENO: "true",
            OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
            OTEL_EXPORTER_OTLP_ENDPOINT: `https://127.0.0.1:${port}`,
            OTEL_EXPORTER_OTLP_CERTIFICATE: caPath,
            OTEL_BSP_SCHEDULE_DELAY: "100",
          },
        });
        await (await fetch(relay.tunnelUrl("dev"))).body?.cancel();
        return relay;
      },
    };
    for (const [client, start] of Object.entries(starts)) {
      await t.step(`${client}: the right one is spoken to`, async () => {
        await using server = await startTlsListener(right.cert, right.key);
        await using program = await start(server.port);
        await within(server.spokenTo, "the client to speak");
        // It would wait for an answer, which this server never gives.
        await program.kill();
      });
      await t.step(`${client}: an impostor is not`, async () => {
        await using server = await startTlsListener(forged.cert, forged.key);
        {
          await using _program = await start(server.port);
          await eventually(() => server.connections > 0, "the client to connect");
        }
        // It has ended: what it would have said is here.
        equal(server.received, "");
      });
    }
  });
});
