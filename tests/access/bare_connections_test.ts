/** Services without `access`: ports that the relay opens, and TLS that it passes on unopened. */
import { deepEqual, equal, match } from "node:assert/strict";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { Authority, withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { runProgram } from "../support/programs.ts";
import { get, textOf } from "../services/setup.ts";
import { exchange } from "./tcp_client.ts";
import { servicesFile, startTcpTarget, withWorld, type World } from "./tcp_world.ts";
import { relayLogUpToNow } from "../isolation/tunnel.ts";
import { freePort } from "../support/free_port.ts";

const hello = new TextEncoder().encode("hello");

async function portOf({ relay }: World, service: string): Promise<number> {
  const line = await relay.waitForLog((line) =>
    line.message === "Listening" && line.listener === "service" && line.service === service
  );
  return Number(String(line.address).split(":").at(-1));
}

Deno.test("a service's port carries connections of the addresses that it allows, and no others", async () => {
  await using target = await startTcpTarget();
  const options = {
    targets: { open: target.address, shut: target.address },
    services: {
      open: { listen: "127.0.0.1:0", allow: ["127.0.0.0/8"] },
      shut: { listen: "127.0.0.1:0", allow: ["192.0.2.0/24"] },
    },
  };
  await withWorld(options, async (world) => {
    const bytes = new Uint8Array(1024 * 1024).fill(3);
    const echoed = await exchange(await portOf(world, "open"), bytes);
    equal(echoed.length, bytes.length);
    const line = await world.relay.waitForLog(({ message, service }) =>
      message === "Request" && service === "open"
    );
    deepEqual([line.status, line.bytes, line.bytes_in, line.peer], [
      101,
      bytes.length,
      bytes.length,
      "127.0.0.1",
    ]);
    // The reset may come before the client's system has told that it is connected.
    const answered = exchange(await portOf(world, "shut"), hello).then(
      () => "bytes",
      () => "reset",
    );
    equal(await within(answered, "the end"), "reset");
    await world.relay.waitForLog(({ message, service }) =>
      message === "Refused a connection to a service's port" && service === "shut"
    );
    // Their policy is public, so nothing else guards them from those who come another way.
    const statusOf = async (service: string) => {
      const answer = await fetch(`http://${world.relay.internalAddress}/tunnel-tcp/${service}`);
      await answer.body?.cancel();
      return answer.status;
    };
    deepEqual([await statusOf("open"), await statusOf("shut")], [426, 403]);
  });
});

Deno.test("a service's port follows the services file", async () => {
  await using target = await startTcpTarget();
  const targets = { app: target.address };
  await withWorld({ targets }, async (world) => {
    const listening = { listen: "127.0.0.1:0", allow: ["127.0.0.1"] };
    const write = (services: object) =>
      Deno.writeTextFile(
        `${world.folder}/services.json`,
        servicesFile({ targets, services: { app: services } }),
      );
    await write(listening);
    const port = await portOf(world, "app");
    deepEqual(await exchange(port, hello), hello);
    await write({});
    await eventually(async () => {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port })).close();
        return false;
      } catch {
        return true;
      }
    }, "the port to close");
  });
});

Deno.test("a change that wants a port which cannot be had changes nothing", async () => {
  await using target = await startTcpTarget();
  await using busy = await startTcpTarget();
  const targets = { app: target.address, other: target.address };
  await withWorld({ targets }, async (world) => {
    const write = (services: Readonly<Record<string, object>>) =>
      Deno.writeTextFile(
        `${world.folder}/services.json`,
        servicesFile({ targets, services }),
      );
    const at = (listen: string) => ({ listen, allow: ["127.0.0.1"] });
    await write({ app: at("127.0.0.1:0"), other: at(busy.address) });
    const refused = await world.relay.waitForLog(({ message }) =>
      message.startsWith("Refused a changed configuration")
    );
    match(
      String(refused.reason),
      new RegExp(`^Service "other": listen: can't listen on ${busy.address}: the port is in use`),
    );
    const page = await get(world.webAddress, "app.localhost", "/.culvert/whoami");
    equal(JSON.parse(textOf(page)).service, "app");
    // What is left of the refused change is no port of its other service.
    const log = await relayLogUpToNow(world.relay);
    const opened = log.filter(({ listener }) => listener === "service");
    deepEqual(opened, []);
    await write({ app: at("127.0.0.1:0") });
    deepEqual(await exchange(await portOf(world, "app"), hello), hello);
  });
});

Deno.test("a port goes from one service to another, and to another address, in one change", async () => {
  await using first = await startTcpTarget((socket) => void socket.end("first"));
  await using second = await startTcpTarget((socket) => void socket.end("second"));
  const targets = { first: first.address, second: second.address };
  const port = freePort();
  const at = (host: string) => ({ listen: `${host}:${port}`, allow: ["127.0.0.1"] });
  await withWorld({ targets, services: { first: at("127.0.0.1") } }, async (world) => {
    const write = (services: Readonly<Record<string, object>>) =>
      Deno.writeTextFile(
        `${world.folder}/services.json`,
        servicesFile({ targets, services }),
      );
    const says = async () => new TextDecoder().decode(await exchange(port, hello));
    await portOf(world, "first");
    equal(await says(), "first");
    await write({ second: at("127.0.0.1") });
    await eventually(async () => await says().catch(String) === "second", "the other service");
    await write({ first: at("0.0.0.0") });
    await eventually(async () => await says().catch(String) === "first", "the other address");
  });
});

Deno.test("a port that would be open to everybody, or whose rules need more than an address, is refused", async () => {
  const entry = {
    name: "pg",
    hostnames: ["pg.example.com"],
    cluster: "dev",
    target: "pg",
    kind: "tcp",
    policy: "public",
  };
  const policies = [{ name: "ci", any: [{ token: "ci" }] }];
  const cases = [
    [{ listen: "127.0.0.1:0" }, /listen: needs allow: .*open to everybody/],
    [{ allow: ["10.0.0.0/8"] }, /allow: needs listen as well/],
    [{ listen: "127.0.0.1:0", allow: [] }, /allow: must list an address/],
    [
      { listen: "127.0.0.1:0", allow: ["10.0.0.1/8"] },
      /allow: entry 1: must be an IP address or a range/,
    ],
    [{ listen: "pg", allow: ["10.0.0.1"] }, /listen: must be an address to listen on/],
    [{ listen: ":0", allow: ["10.0.0.1"], kind: "http" }, /listen: is for services of kind tcp/],
    [{ listen: ":0", allow: ["10.0.0.1"], policy: "ci" }, /has a rule about token/],
  ] as const;
  for (const [more, says] of cases) {
    const services = JSON.stringify({ services: [{ ...entry, ...more }], policies });
    const clusters = '[{"id": "dev", "token": "a-token-of-an-agent"}]';
    const args = ["--clusters", clusters, "--services", services, "--callers", "open"];
    const { code, stderr } = await runProgram("relay.ts", args);
    equal(code, 2, stderr);
    match(stderr, says);
  }
});

/** A TLS server behind an address, which says by what name it was asked. */
async function startTlsTarget(folder: string) {
  const authority = await Authority.create(folder, "target");
  const { certPath, keyPath } = await authority.issue("secure", "DNS:secure.example.com");
  const server = createTlsServer({
    cert: await Deno.readTextFile(certPath),
    key: await Deno.readTextFile(keyPath),
    ALPNProtocols: ["culvert-test"],
  }, (socket: TLSSocket) => {
    socket.on("error", () => {});
    socket.end(`${(socket as { servername?: string }).servername} ${socket.alpnProtocol}`);
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const { port } = server.address() as { port: number };
  return {
    address: `127.0.0.1:${port}`,
    ca: await Deno.readTextFile(authority.caPath),
    [Symbol.dispose]: () => void server.close(),
  };
}

Deno.test("TLS to a service of kind tls ends at its target, whose certificate the client sees", async () => {
  await withFolder(async (folder) => {
    using target = await startTlsTarget(folder);
    const targets = { secure: target.address };
    await withWorld({ targets }, async ({ webAddress, relay, folder }) => {
      // A listener without certificates has to look into connections from now on.
      const services = { secure: { hostnames: ["secure.example.com"], kind: "tls" } };
      await Deno.writeTextFile(`${folder}/services.json`, servicesFile({ targets, services }));
      await relay.waitForLog(({ message }) => message === "Configuration reloaded");
      const port = Number(webAddress.split(":").at(-1));
      const socket = connectTls({
        host: "127.0.0.1",
        port,
        servername: "secure.example.com",
        ca: target.ca,
        ALPNProtocols: ["culvert-test"],
      });
      let text = "";
      socket.on("data", (bytes: Uint8Array) => text += new TextDecoder().decode(bytes));
      const ended = new Promise<void>((resolve, reject) => {
        socket.on("end", () => resolve());
        socket.on("error", reject);
      });
      await within(ended, "the target's answer");
      socket.destroy();
      equal(text, "secure.example.com culvert-test");
      const line = await relay.waitForLog(({ message, service }) =>
        message === "Request" && service === "secure"
      );
      equal(line.status, 101);
      // The name is not for HTTP.
      const asked = await fetch(`http://${webAddress}/`, {
        headers: { Host: "secure.example.com" },
      });
      await asked.body?.cancel();
      equal(asked.status, 421);
    });
  });
});

Deno.test("a port with TLS lets in the client certificates of its policy, and no others", async () => {
  await using target = await startTcpTarget();
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const own = await authority.issue("relay", "DNS:localhost,IP:127.0.0.1");
    const known = await authority.issue("laptop-ann", "DNS:laptop-ann");
    const other = await authority.issue("desktop-bob", "DNS:desktop-bob");
    const options = {
      targets: { pg: target.address },
      services: { pg: { listen: "127.0.0.1:0", listenTls: true, policy: "laptops" } },
      policies: [{ name: "laptops", any: [{ certificate: "laptop-*" }] }],
      callers: [
        ...["--tls-cert", own.certPath, "--tls-key", own.keyPath],
        ...["--caller-ca", authority.caPath],
      ],
      usesTls: true,
      agentArgs: ["--server-ca-cert", authority.caPath],
    };
    await withWorld(options, async (world) => {
      const port = await portOf(world, "pg");
      const ca = await Deno.readTextFile(authority.caPath);
      const echoTo = async (client?: { certPath: string; keyPath: string }) => {
        const socket = connectTls({
          ...{ host: "127.0.0.1", port, servername: "localhost", ca },
          ...client && {
            cert: await Deno.readTextFile(client.certPath),
            key: await Deno.readTextFile(client.keyPath),
          },
        });
        const { promise, resolve } = Promise.withResolvers<string>();
        let text = "";
        socket.on("data", (bytes: Uint8Array) => text += new TextDecoder().decode(bytes));
        socket.on("end", () => resolve(text || "refused"));
        socket.on("error", () => resolve("refused"));
        socket.on("close", () => resolve(text || "refused"));
        socket.end("hello");
        const answer = await within(promise, "the end");
        socket.destroy();
        return answer;
      };
      equal(await echoTo(known), "hello");
      equal(await echoTo(other), "refused");
      equal(await echoTo(), "refused");
      const line = await world.relay.waitForLog(({ message, service, caller }) =>
        message === "Request" && service === "pg" && caller !== undefined
      );
      deepEqual([line.caller_kind, line.caller], ["certificate", "laptop-ann"]);
    });
  });
});
