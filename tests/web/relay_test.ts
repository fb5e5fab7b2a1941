/** The relay's web listener with certificates, with the real programs. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { get } from "../services/setup.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import {
  type RunningAgent,
  type RunningRelay,
  runProgram,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { frame, H2Client, Kind, number, requestFields } from "./h2_client.ts";
import { addPair } from "./setup.ts";

const token = "web-relay-token-0123456789";

interface Installation {
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;
  readonly authority: Authority;
  readonly folder: string;
  readonly ca: string;
  readonly port: number;
}

const names = "DNS:app.localhost,DNS:*.many.localhost,DNS:localhost";

/** Answers with what it got, or with what the path says. */
async function mirror(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === "/socket") {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = ({ data }) => socket.send(`echo ${data}`);
    return response;
  }
  if (pathname === "/cut") {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(1_000));
        setTimeout(() => controller.error(new Error("cut")), 50);
      },
    });
    return new Response(body);
  }
  if (pathname === "/large") return new Response(new Uint8Array(20_000_000));
  if (pathname === "/slow") {
    await request.text();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  return Response.json({
    host: request.headers.get("host"),
    cookie: request.headers.get("cookie"),
    proto: request.headers.get("x-forwarded-proto"),
    bytes: (await request.arrayBuffer().catch(() => new ArrayBuffer(0))).byteLength,
  });
}

/** Relay, agent and target, with services at `app.localhost` and others. */
async function withInstallation(test: (all: Installation) => Promise<void>): Promise<void> {
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/certs`;
    await Deno.mkdir(folder);
    await addPair({ authority, folder }, "app", names);
    await addPair({ authority, folder }, "other", "DNS:other.localhost");
    await using target = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, mirror);
    const address = `127.0.0.1:${target.addr.port}`;
    const service = (name: string, hostnames: string[]) => ({
      ...{ name, hostnames, cluster: "dev", target: address, policy: "public" },
    });
    const services = JSON.stringify({
      services: [
        service("app", ["app.localhost", "*.many.localhost", "localhost"]),
        service("other", ["other.localhost"]),
        service("bare", ["bare.localhost"]),
      ],
    });
    await using relay = await startRelay({
      clusters: [{ id: "dev", token, targetAddr: address }],
      args: ["-services", services, "-web-addr", "127.0.0.1:0", "-web-certs", folder],
    });
    const agentOptions = { relayUrl: relay.connectUrl, token, target: address };
    await using agent = await startAgent(agentOptions);
    const line = await relay.waitForLog(
      ({ message, listener }) => message === "Listening" && listener === "web",
    );
    equal(line.tls, "on");
    const port = Number(String(line.address).split(":").at(-1));
    const ca = await Deno.readTextFile(authority.caPath);
    await test({ relay, agent, authority, folder, ca, port });
  });
}

async function metricsOf({ relay }: Installation): Promise<string> {
  const response = await fetch(`http://${relay.internalAddress}/metrics`);
  return await response.text();
}

Deno.test("A relay's web listener serves browsers' HTTP/2, WebSockets and uploads by certificate", async (t) => {
  await withInstallation(async (all) => {
    const { ca, port, relay } = all;
    using h2 = Deno.createHttpClient({ caCerts: [ca], http1: false, http2: true });
    const url = (host: string, path: string) => `https://${host}:${port}${path}`;

    await t.step("requests over HTTP/2 reach the service of their host", async () => {
      const answer = await fetch(url("localhost", "/"), { client: h2, headers: { cookie: "a=1" } });
      equal(answer.status, 200);
      deepEqual(await answer.json(), {
        ...{ host: `localhost:${port}`, cookie: "a=1", proto: "https", bytes: 0 },
      });
    });

    await t.step("large bodies pass both ways, with a length and without", async () => {
      const down = await fetch(url("localhost", "/large"), { client: h2 });
      equal((await down.arrayBuffer()).byteLength, 20_000_000);
      const large = new Uint8Array(20_000_000);
      for (const body of [large, new Blob([large]).stream()]) {
        const up = await fetch(url("localhost", "/"), { client: h2, method: "POST", body });
        equal((await up.json()).bytes, large.length);
      }
    });

    await t.step("an answer that the target breaks off is no whole one", async () => {
      const answer = await fetch(url("localhost", "/cut"), { client: h2 });
      equal(answer.status, 200);
      await rejects(answer.arrayBuffer());
    });

    await t.step("curl speaks HTTP/2 with it", async () => {
      const { stdout } = await new Deno.Command("curl", {
        args: [
          ...[
            "-sS",
            "--http2",
            "--cacert",
            all.authority.caPath,
            "-w",
            " %{http_version} %{http_code}",
          ],
          ...["--resolve", `a.many.localhost:${port}:127.0.0.1`, url("a.many.localhost", "/")],
        ],
      }).output();
      match(new TextDecoder().decode(stdout), /"host":"a\.many\.localhost:\d+".* 2 200$/);
    });

    await t.step("a WebSocket comes over HTTP/1.1", async () => {
      const socket = new WebSocket(`wss://localhost:${port}/socket`, { ca });
      await within(once(socket, "open"), "the handshake");
      socket.send("hello");
      const [data] = await within(once(socket, "message"), "the echo");
      equal(String(data), "echo hello");
      socket.close();
      await within(once(socket, "close"), "the end");
    });

    await t.step("a request for a host with another certificate is misdirected", async () => {
      await using client = await H2Client.open(port, ca);
      const ask = async (stream: number, host: string): Promise<string> => {
        client.request(stream, [
          ...requestFields("/").filter(([name]) => name !== ":authority"),
          [":authority", host],
        ]);
        await client.until(() => client.body(stream).isWhole, "an answer");
        return client.body(stream).text;
      };
      match(await ask(1, "a.many.localhost"), /"host":"a\.many\.localhost"/);
      const [other, unknown] = [await ask(3, "other.localhost"), await ask(5, "unknown.localhost")];
      match(other, /"code":421/);
      equal(other.replaceAll(/req-\w+/g, ""), unknown.replaceAll(/req-\w+/g, ""));
    });

    await t.step("who floods it loses the connection, and the metrics tell", async () => {
      await using client = await H2Client.open(port, ca);
      for (let n = 0; n < 5_000 && !client.isEnded; n++) {
        client.request(1 + 2 * n, requestFields("/slow"));
        client.send(frame(Kind.reset, 0, 1 + 2 * n, number(8)));
        if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await client.ended();
      const metrics = await metricsOf(all);
      match(metrics, /^culvert_http2_connections_ended_total\{reason="resets"\} 1$/m);
      await eventually(
        async () => !/^tunnel_active_connections\{.*\} [1-9]/m.test(await metricsOf(all)),
        "their ends",
      );
    });

    await t.step("its log tells hostnames without a certificate", async () => {
      const line = await relay.waitForLog(({ message }) => message.startsWith("Hostnames without"));
      equal(line["hostnames"], "bare.localhost");
      equal(line["certificates"], "app.localhost, *.many.localhost, localhost, other.localhost");
    });
  });
});

Deno.test("A relay takes renewed, new and removed web certificates, and tells when they expire", async () => {
  await withInstallation(async (all) => {
    const { relay, authority, folder, ca, port } = all;
    const shown = async (servername: string): Promise<string | undefined> => {
      const socket = connectTls({ port, host: "127.0.0.1", ca, servername });
      const { promise, resolve } = Promise.withResolvers<string | undefined>();
      socket.on("error", () => resolve(undefined));
      socket.on("close", () => resolve(undefined));
      socket.on("secureConnect", () => resolve(socket.getPeerCertificate().serialNumber));
      const serial = await within(promise, "a handshake");
      socket.destroy();
      return serial;
    };
    const expiry =
      /^culvert_certificate_not_after_timestamp_seconds\{name="web-certs\/(\w+)"\} \d/gm;
    const expiring = async () =>
      [...(await metricsOf(all)).matchAll(expiry)].map(([, name]) => name);
    deepEqual(await expiring(), ["app", "other"]);
    const before = await shown("app.localhost");
    await addPair({ authority, folder }, "app", names);
    await eventually(async () => (await shown("app.localhost")) !== before, "the renewed one");
    equal(await shown("bare.localhost"), undefined);
    await addPair({ authority, folder }, "bare", "DNS:bare.localhost");
    await eventually(async () => (await shown("bare.localhost")) !== undefined, "the new one");
    await Deno.writeTextFile(`${folder}/other.key`, "no key");
    const refused = await relay.waitForLog(({ message }) => message.startsWith("Refused a web"));
    equal(refused["pair"], "other");
    ok(await shown("other.localhost"));
    await Deno.remove(`${folder}/other.key`);
    await Deno.remove(`${folder}/other.crt`);
    await eventually(async () => (await shown("other.localhost")) === undefined, "the removal");
    deepEqual((await expiring()).toSorted(), ["app", "bare"]);
    match(
      await metricsOf(all),
      /^culvert_config_reloads_total\{source="web_certs",result="refused"\} [1-9]/m,
    );
  });
});

Deno.test("A relay that stops finishes requests over HTTP/2", async () => {
  await withInstallation(async ({ relay, ca, port }) => {
    using client = Deno.createHttpClient({ caCerts: [ca], http1: false, http2: true });
    const answer = fetch(`https://localhost:${port}/slow`, { client });
    await eventually(
      async () =>
        /^tunnel_active_connections\{.*\} 1/m.test(await metricsOf({ relay } as Installation)),
      "the request",
    );
    const stopped = relay.stop();
    equal((await answer).status, 200);
    await (await answer).body?.cancel();
    equal(await stopped, 0);
  });
});

Deno.test("A relay refuses a web listener whose certificates cannot be used", async (t) => {
  await withFolder(async (root) => {
    const base = ["-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0", "-clusters", "[]"];
    const cases: [string, string[], RegExp][] = [
      [
        "on every address without certificates",
        ["-web-addr", ":0"],
        /Option --web-addr is ":0".* \(--web-certs\), listen on loopback/,
      ],
      [
        "certificates without a listener",
        ["-web-certs", root],
        /^Option --web-certs needs --web-addr as well/,
      ],
      [
        "an empty folder",
        ["-web-addr", "127.0.0.1:0", "-web-certs", root],
        /^Option --web-certs names ".*", which holds no certificate/,
      ],
      [
        "a folder that is not there",
        ["-web-addr", "127.0.0.1:0", "-web-certs", `${root}/x`],
        /^Option --web-certs: ".*x" cannot be read: /,
      ],
    ];
    for (const [name, args, says] of cases) {
      await t.step(name, async () => {
        const { code, stderr } = await runProgram("relay.ts", [...base, ...args]);
        equal(code, 2);
        match(stderr.trim().split("\n").at(-1)!.replace(/^.*?Option/, "Option"), says);
      });
    }
  });
});

Deno.test("A relay without certificates takes plain HTTP on loopback", async () => {
  await using relay = await startRelay({
    clusters: [{ id: "dev", token, targetAddr: "127.0.0.1:1" }],
    args: ["-services", "{}", "-web-addr", "127.0.0.1:0"],
  });
  const line = await relay.waitForLog(({ listener }) => listener === "web");
  equal(line.tls, "off");
  equal((await get(String(line.address), "unknown.test")).startLine.split(" ")[1], "421");
});
