/** TLS with the targets of a file: whom the agent trusts, what it shows, and files that change. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { Authority, type KeyPairFiles } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { Setup, textOf } from "./target_setup.ts";

const read = (path: string) => Deno.readTextFile(path);

/** A server with TLS that demands a client certificate and says whose it got. */
class MutualServer implements AsyncDisposable {
  readonly #server;
  readonly #sockets = new Set<TLSSocket>();
  /** What was agreed on with each client. */
  readonly protocols: unknown[] = [];

  private constructor(options: { cert: string; key: string; ca: string }) {
    this.#server = createServer({
      ...options,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ["http/1.1"],
    }, (socket) => {
      this.#sockets.add(socket);
      this.protocols.push(socket.alpnProtocol);
      const { subject } = socket.getPeerCertificate();
      socket.on("error", () => {});
      // Without a length: its end is that of the connection.
      socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\n\r\n${subject.CN}`));
    });
    this.#server.on("tlsClientError", () => {});
  }

  static async start(pair: KeyPairFiles, clients: Authority): Promise<MutualServer> {
    const server = new MutualServer({
      cert: await read(pair.certPath),
      key: await read(pair.keyPath),
      ca: await read(clients.caPath),
    });
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }
}

const request = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n");

Deno.test("an agent shows each target its client certificate, and verifies the target by its CA and name", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const servers = await Authority.create(folder, "servers");
    const clients = await Authority.create(folder, "clients");
    const others = await Authority.create(folder, "others");
    const client = await clients.issue("agent-7", "DNS:agent-7");
    await using byAddress = await MutualServer.start(
      await servers.issue("a", "IP:127.0.0.1"),
      clients,
    );
    await using byName = await MutualServer.start(
      await servers.issue("b", "DNS:inner.example"),
      clients,
    );
    const own = { cert: client.certPath, key: client.keyPath };
    const trusted = { ca: servers.caPath, ...own };
    const named = { ...trusted, serverName: "inner.example" };
    const targets = [
      { name: "address", address: byAddress.address, tls: trusted },
      { name: "address-tcp", address: byAddress.address, tls: trusted, kind: "tcp" },
      { name: "name-tcp", address: byName.address, tls: named, kind: "tcp" },
      {
        name: "unverified-tcp",
        address: byName.address,
        tls: { insecure: true, ...own },
        kind: "tcp",
      },
      { name: "wrong-name", address: byName.address, tls: trusted },
      { name: "wrong-ca", address: byAddress.address, tls: { ...trusted, ca: others.caPath } },
      { name: "wrong-ca-named", address: byName.address, tls: { ...named, ca: others.caPath } },
    ];
    await Setup.with(() => targets, async (setup) => {
      const session = await setup.session();
      const stream = await session.open("address", request);
      const answer = new TextDecoder().decode(await stream.reader.readToEnd());
      match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*agent-7$/);
      for (const name of ["address-tcp", "name-tcp", "unverified-tcp"]) {
        const tcp = await setup.dial(name, "x");
        await tcp.connected();
        equal(await textOf(tcp, 26), "HTTP/1.1 200 OK\r\n\r\nagent-7");
        await tcp.close();
      }
      deepEqual(byAddress.protocols, ["http/1.1", false]);
      deepEqual(byName.protocols, [false, false]);
      for (const name of ["wrong-name", "wrong-ca", "wrong-ca-named"]) {
        equal(await setup.ask(name), "tls", name);
        const line = await setup.agent.waitForLog(({ target, code }) =>
          target === name && code === "tls"
        );
        match(String(line.error), /tls\.(?:ca|serverName) in the targets file/, name);
      }
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a target's CA file that changes takes effect, and one that is damaged changes nothing", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const servers = await Authority.create(folder, "servers");
    const clients = await Authority.create(folder, "clients");
    const client = await clients.issue("agent", "DNS:agent");
    await using server = await MutualServer.start(
      await servers.issue("a", "IP:127.0.0.1"),
      clients,
    );
    const ca = `${folder}/ca.crt`;
    await Deno.copyFile(clients.caPath, ca);
    const tls = { ca, cert: client.certPath, key: client.keyPath };
    await Setup.with(() => [{ name: "api", address: server.address, tls }], async (setup) => {
      equal(await setup.ask("api"), "tls");
      const expires = (key: string) =>
        setup.metric(`culvert_certificate_not_after_timestamp_seconds{name="targets/api/${key}"}`);
      ok(
        (await expires("ca"))! > Date.now() / 1000 && (await expires("cert"))! > Date.now() / 1000,
      );
      await Deno.copyFile(servers.caPath, ca);
      const applied = 'culvert_config_reloads_total{source="targets_tls",result="applied"}';
      await eventually(async () => await setup.metric(applied) === 1, "the CA to be in use");
      equal(await setup.ask("api"), "200");
      await Deno.writeTextFile(ca, "damaged");
      const line = await setup.agent.waitForLog(({ source, level }) =>
        source === "targets_tls" && level === "error"
      );
      match(String(line.reason), /, entry 1 \("api"\): tls: ca names ".*ca\.crt", which/);
      equal(await setup.ask("api"), "200");
      await setup.replace([]);
      deepEqual([await expires("ca"), await expires("cert")], [undefined, undefined]);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
