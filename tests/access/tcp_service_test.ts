/** TCP services end to end: `access`, relay, agent, target. */
import { createHash } from "node:crypto";
import { connect as connectSocket, type Socket } from "node:net";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { refusingAddress } from "../support/target.ts";
import { exchange, readAll } from "./tcp_client.ts";
import { servicesFile, startAccess, startTcpTarget, withWorld, type World } from "./tcp_world.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Streams that a relay has open, as its metrics tell. */
async function openRequests({ relay }: World): Promise<number> {
  const text = await (await fetch(`http://${relay.internalAddress}/metrics`)).text();
  const counts = [...text.matchAll(/^culvert_relay_open_requests\{[^}]*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Files and sockets that a process has open. */
function descriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

async function connect(port: number): Promise<Deno.TcpConn> {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** For connections that are to be reset. */
async function rawConnect(port: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connectSocket({ port, host: "127.0.0.1" }, resolve);
  socket.on("error", reject);
  await promise;
  return socket;
}

Deno.test("a TCP connection goes through access, relay and agent, and each way ends on its own", async (t) => {
  const late = Promise.withResolvers<Uint8Array>();
  await using echo = await startTcpTarget();
  await using early = await startTcpTarget((socket: Socket) => {
    socket.end("bye");
    const got: Uint8Array[] = [];
    socket.on("data", (bytes: Uint8Array) => got.push(bytes));
    socket.on("end", () => late.resolve(new Uint8Array(got.flatMap((piece) => [...piece]))));
  });
  const targets = { echo: echo.address, early: early.address };
  await withWorld({ targets }, async (world) => {
    await t.step("the client ends first", async () => {
      await using client = await world.access("echo");
      const large = new Uint8Array(4 * 1024 * 1024).map((_, at) => at * 31 >> 3);
      const echoed = await exchange(client.port, large);
      equal(echoed.length, large.length);
      ok(echoed.every((byte, at) => byte === large[at]));
    });
    await t.step("the target ends first", async () => {
      await using client = await world.access("early");
      using conn = await connect(client.port);
      equal(decoder.decode(await readAll(conn)), "bye");
      await conn.write(encoder.encode("still "));
      await conn.write(encoder.encode("here"));
      await conn.closeWrite();
      const received = await within(late.promise, "what the client sent after the target's end");
      equal(decoder.decode(received), "still here");
    });
    await eventually(() => echo.open.size + early.open.size === 0, "the targets' connections");
    await eventually(async () => await openRequests(world) === 0, "the relay to forget them");
  });
});

Deno.test("a connection that breaks on one side is reset on the other", async (t) => {
  const arrived: Socket[] = [];
  await using target = await startTcpTarget((socket) => {
    arrived.push(socket);
    socket.resume().write("hello");
  });
  await withWorld({ targets: { app: target.address } }, async ({ access }) => {
    await using client = await access("app");
    await t.step("at the target", async () => {
      using conn = await connect(client.port);
      const buffer = new Uint8Array(5);
      equal(await conn.read(buffer), 5);
      arrived.at(-1)!.resetAndDestroy();
      const end = await within(conn.read(buffer).catch((error) => error), "the end");
      ok(end instanceof Error, `the client must not take it for an end: ${end}`);
      const says = /ended early: the connection to the target broke/;
      await client.program.waitForLog(({ message }) => says.test(message));
    });
    await t.step("at the client", async () => {
      const conn = await rawConnect(client.port);
      await within(new Promise((resolve) => conn.once("data", resolve)), "the target's bytes");
      const broken = new Promise<boolean>((resolve) =>
        arrived.at(-1)!.on("close", (hadError: boolean) => resolve(hadError))
      );
      conn.resetAndDestroy();
      equal(await within(broken, "the target's connection to end"), true);
    });
  });
});

Deno.test("a hundred connections at once keep their bytes apart", async () => {
  await using target = await startTcpTarget();
  await withWorld({ targets: { echo: target.address } }, async (world) => {
    await using client = await world.access("echo");
    await Promise.all(Array.from({ length: 100 }, async (_, index) => {
      const bytes = new Uint8Array(50_000 + index).fill(index);
      const echoed = await exchange(client.port, bytes);
      equal(echoed.length, bytes.length, `connection ${index}`);
      ok(echoed.every((byte) => byte === index), `connection ${index}`);
    }));
    await eventually(async () => await openRequests(world) === 0, "all to be over");
  });
});

Deno.test("256 MiB go through in each direction, at the same time, unchanged", async () => {
  const total = 256 * 1024 * 1024;
  const piece = crypto.getRandomValues(new Uint8Array(64 * 1024));
  const expected = createHash("sha256");
  for (let at = 0; at < total; at += piece.length) expected.update(piece);
  const digest = expected.digest("hex");
  const uploaded = Promise.withResolvers<string>();
  await using target = await startTcpTarget((socket) => {
    const got = createHash("sha256");
    socket.on("data", (bytes) => got.update(bytes));
    socket.on("end", () => uploaded.resolve(got.digest("hex")));
    let left = total;
    const send = (): void => {
      while (left > 0) {
        left -= piece.length;
        if (!socket.write(piece)) return void socket.once("drain", send);
      }
      socket.end();
    };
    send();
  });
  await withWorld({ targets: { bulk: target.address } }, async ({ access, relay }) => {
    await using client = await access("bulk");
    using conn = await connect(client.port);
    const upload = (async () => {
      for (let sent = 0; sent < total; sent += piece.length) {
        for (let at = 0; at < piece.length;) at += await conn.write(piece.subarray(at));
      }
      await conn.closeWrite();
    })();
    const got = createHash("sha256");
    const buffer = new Uint8Array(256 * 1024);
    const download = (async () => {
      for (let length; (length = await conn.read(buffer)) !== null;) {
        got.update(buffer.subarray(0, length));
      }
    })();
    await within(Promise.all([upload, download]), "256 MiB both ways", 240_000);
    equal(got.digest("hex"), digest, "what the client got");
    equal(await within(uploaded.promise, "the target's end"), digest, "what the target got");
    // Bytes wait in the windows, not in the relay.
    const peak = await relay.program.peakResidentBytes();
    ok(peak < 512 * 1024 * 1024, `the relay took ${peak} bytes`);
  });
});

Deno.test("a reader that stops holds up its own connection and no other", async () => {
  await using target = await startTcpTarget((socket) => {
    const endless = new Uint8Array(64 * 1024);
    const send = (): void => {
      while (socket.write(endless));
      socket.once("drain", send);
    };
    send();
  });
  await using echo = await startTcpTarget();
  const targets = { endless: target.address, echo: echo.address };
  await withWorld({ targets }, async ({ access, relay, agent }) => {
    await using stalled = await access("endless");
    await using other = await access("echo");
    using conn = await connect(stalled.port);
    equal(await conn.read(new Uint8Array(1)), 1);
    const bytes = new Uint8Array(1024 * 1024).fill(7);
    for (let round = 0; round < 5; round++) {
      deepEqual((await exchange(other.port, bytes)).length, bytes.length);
    }
    for (const { program } of [relay, agent, stalled]) {
      const resident = await program.residentBytes();
      ok(resident < 400 * 1024 * 1024, `${resident} bytes`);
    }
  });
});

Deno.test("thousands of connections that come and go leave nothing behind", async () => {
  await using target = await startTcpTarget();
  await withWorld({ targets: { echo: target.address } }, async (world) => {
    await using client = await world.access("echo");
    const programs = [world.relay.program, world.agent.program, client.program];
    const storm = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        await Promise.all(Array.from({ length: 50 }, async (_, index) => {
          // In order, with a reset, and before there is an answer.
          if (index % 3 === 0) return void await exchange(client.port, encoder.encode("hi"));
          const conn = await rawConnect(client.port);
          if (index % 3 === 1) conn.write("hi");
          if (index % 2 === 1) conn.resetAndDestroy();
          else conn.end().resume();
        }));
      }
      await eventually(() => target.open.size === 0, "the target's connections", 60_000);
      await eventually(async () => await openRequests(world) === 0, "the relay's", 60_000);
    };
    await storm(20);
    const before = programs.map(({ pid }) => descriptors(pid));
    const resident = await Promise.all(programs.map((program) => program.residentBytes()));
    await storm(40);
    for (const [index, { pid }] of programs.entries()) {
      const open = () => descriptors(pid);
      await eventually(() => open() <= before[index]! + 5, () => `${open()} descriptors`, 60_000);
      const grown = await programs[index]!.residentBytes() - resident[index]!;
      ok(grown < 128 * 1024 * 1024, `program ${index} grew by ${grown} bytes`);
    }
  });
});

/** Asks the web listener, or the internal one, as a program that is not `access`. */
async function ask(
  address: string,
  path: string,
  fields: Readonly<Record<string, string>>,
  method = "GET",
): Promise<{ readonly status: number; readonly code: string; readonly head: string }> {
  const [hostname = "", port = ""] = address.split(":");
  using conn = await Deno.connect({ hostname, port: Number(port) });
  const lines = Object.entries({ Connection: "close", ...fields });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await conn.write(encoder.encode(`${method} ${path} HTTP/1.1\r\n${head}\r\n`));
  const [answer, body] = await readAnswer(conn);
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
  return { status, head: answer, code: body === "" ? "" : JSON.parse(body).error.code };
}

/** Reads a head, and the body whose length it says. */
async function readAnswer(conn: Deno.TcpConn): Promise<[head: string, body: string]> {
  let text = "";
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const [head = "", body] = text.split("\r\n\r\n");
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (body !== undefined && body.length >= length) return [head, body];
    const read = await within(conn.read(buffer), "the answer");
    if (read === null) throw new Error(`The answer ended: ${text}`);
    text += decoder.decode(buffer.subarray(0, read));
  }
}

const handshake = {
  "Connection": "Upgrade",
  "Upgrade": "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Protocol": "culvert.tcp.v1",
};

Deno.test("before there is a connection to the target, the answer is an HTTP error that says why", async (t) => {
  await using target = await startTcpTarget();
  const options = {
    targets: { echo: target.address, dead: refusingAddress() },
    services: {
      away: { hostnames: ["away.localhost"], cluster: "nowhere", target: "echo" },
      other: { hostnames: ["other.localhost"], target: "no-such-target" },
      page: { hostnames: ["page.localhost"], target: "echo", kind: "http" },
    },
  };
  await withWorld(options, async ({ webAddress, relay }) => {
    const asked = (host: string, more: Record<string, string> = {}) =>
      ask(webAddress, "/.culvert/tcp", { ...handshake, Host: host, ...more });
    const cases = [
      ["dead.localhost", {}, 502, "refused"],
      ["other.localhost", {}, 502, "target_not_available"],
      ["page.localhost", {}, 404, "no_such_path"],
      ["away.localhost", {}, 502, "cluster_not_available"],
      ["echo.localhost", { Origin: "http://echo.localhost" }, 403, "cross_site"],
      ["echo.localhost", { "Sec-WebSocket-Protocol": "chat" }, 400, "bad_handshake"],
      ["echo.localhost", { "Sec-WebSocket-Version": "8" }, 400, "bad_handshake"],
      ["echo.localhost", { Upgrade: "culvert-tcp" }, 426, "not_http"],
      ["nobody.localhost", {}, 421, undefined],
    ] as const;
    for (const [host, more, status, code] of cases) {
      await t.step(`${host} ${JSON.stringify(more)}`, async () => {
        const answer = await asked(host, more);
        equal(answer.status, status, answer.head);
        if (code !== undefined) equal(answer.code, code);
      });
    }
    await t.step("a page of a TCP service's hostname", async () => {
      for (const path of ["/", "/index.html", "/.culvert/tcp"]) {
        const answer = await ask(webAddress, path, { Host: "echo.localhost" });
        equal(answer.status, 426);
        match(answer.head, /^Upgrade: websocket$/m);
      }
    });
    await t.step("the internal listener", async () => {
      const { internalAddress } = relay;
      const Host = internalAddress;
      equal((await ask(internalAddress, "/tunnel-tcp/echo", { Host })).status, 426);
      equal((await ask(internalAddress, "/tunnel-tcp/page", { Host })).status, 404);
      equal((await ask(internalAddress, "/tunnel-tcp/nobody", { Host })).status, 404);
      const dead = await ask(internalAddress, "/tunnel-tcp/dead", { ...handshake, Host });
      deepEqual([dead.status, dead.code], [502, "refused"]);
    });
  });
});

Deno.test("access prints why the agent could not connect to the target", async () => {
  await withWorld({ targets: { dead: refusingAddress() } }, async ({ access }) => {
    await using client = await access("dead");
    using conn = await connect(client.port);
    const end = await within(conn.read(new Uint8Array(1)).catch((error) => error), "the end");
    ok(end instanceof Error || end === null);
    const says = /dead\.localhost:\d+: the relay says: .*(?:refused|connect)/;
    await client.program.waitForLog(({ message }) => says.test(message));
  });
});

Deno.test("a TCP service is at /tunnel-tcp/ of the internal listener, too", async () => {
  await using target = await startTcpTarget();
  await withWorld({ targets: { echo: target.address } }, async ({ relay }) => {
    const url = `http://${relay.internalAddress}/tunnel-tcp/echo`;
    await using client = await startAccess(["tcp", url, "--listen", "127.0.0.1:0"]);
    equal(decoder.decode(await exchange(client.port, encoder.encode("hi"))), "hi");
  });
});

Deno.test("what is open of a service ends when the service is removed, and access says so", async () => {
  await using target = await startTcpTarget((socket) => void socket.write("x"));
  const options = { targets: { gone: target.address, kept: target.address } };
  await withWorld(options, async ({ access, folder }) => {
    await using gone = await access("gone");
    await using kept = await access("kept");
    using goneConn = await connect(gone.port);
    using keptConn = await connect(kept.port);
    for (const conn of [goneConn, keptConn]) equal(await conn.read(new Uint8Array(1)), 1);
    const left = servicesFile({ targets: { kept: target.address } });
    await Deno.writeTextFile(`${folder}/services.json`, left);
    const end = await within(goneConn.read(new Uint8Array(1)).catch((error) => error), "the end");
    ok(end instanceof Error);
    const says = /gone\.localhost:\d+: a connection ended early: the service was removed/;
    await gone.program.waitForLog(({ message }) => says.test(message));
    for (const socket of target.open) socket.write("y");
    const buffer = new Uint8Array(1);
    equal(await keptConn.read(buffer), 1);
    equal(decoder.decode(buffer), "y");
  });
});

Deno.test("a relay that stops gives open connections its grace, and access says why they end", async () => {
  await using target = await startTcpTarget((socket) => void socket.write("x"));
  const options = {
    targets: { app: target.address },
    relayArgs: ["--drain-delay", "0", "--grace", "1s"],
  };
  await withWorld(options, async ({ access, relay }) => {
    await using client = await access("app");
    using conn = await connect(client.port);
    equal(await conn.read(new Uint8Array(1)), 1);
    const stopped = relay.stop();
    const end = await within(conn.read(new Uint8Array(1)).catch((error) => error), "the end");
    ok(end instanceof Error);
    const says = /a connection ended early: the relay is shutting down/;
    await client.program.waitForLog(({ message }) => says.test(message));
    equal(await stopped, 0);
  });
});

Deno.test("an agent that stops lets open connections finish", async () => {
  await using target = await startTcpTarget((socket) => {
    socket.on("data", () => socket.end("done"));
    socket.write("x");
  });
  await withWorld({ targets: { app: target.address } }, async ({ access, agent }) => {
    await using client = await access("app");
    using conn = await connect(client.port);
    equal(await conn.read(new Uint8Array(1)), 1);
    const stopped = agent.stop();
    await agent.waitForLog(({ message }) => message === "Shutting down");
    await conn.write(encoder.encode("go"));
    equal(decoder.decode(await readAll(conn)), "done");
    await conn.closeWrite();
    equal(await stopped, 0);
  });
});
