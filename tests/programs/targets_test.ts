/** What an agent makes of its file of targets: requests, TCP streams, changes. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { probeTargets } from "../../lib/runtime/deno/relay_fetch.ts";
import { V2Relay } from "../peers/v2_relay.ts";
import { eventually, untilEqual, untilSteady } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { answering, type RawTarget, refusingAddress, startRawTarget } from "../support/target.ts";
import { Setup, textOf, token, writeTargets } from "./target_setup.ts";

const encoder = new TextEncoder();

function ok200(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** A TCP server that says the same back, and ends when the other side has. */
async function echo(connection: RawConnection): Promise<void> {
  for (;;) {
    const bytes = await connection.reader.readSome();
    if (!bytes) break;
    await connection.write(bytes);
  }
  await connection.write("bye");
  connection.end();
}

Deno.test("an agent serves each of its targets by name, with its own credential and Host", async () => {
  await using app = await startRawTarget(answering(ok200("app")));
  await using api = await startRawTarget(answering(ok200("api")));
  await Setup.with(async (folder) => {
    await Deno.writeTextFile(`${folder}/key`, "secret-key");
    return [
      { name: "app", address: app.address },
      {
        name: "api",
        address: api.address,
        credential: { file: `${folder}/key`, header: "X-Api-Key" },
      },
      { name: "pg", address: app.address, kind: "tcp" },
    ];
  }, async (setup) => {
    equal(await setup.ask("app", "/a", ["X-Api-Key: caller"]), "200");
    equal(await setup.ask("api", "/b", ["X-Api-Key: caller"]), "200");
    const [first, second] = [requestOf(app), requestOf(api)];
    deepEqual([first.line, first.host, first.key], ["GET /a HTTP/1.1", app.address, "caller"]);
    deepEqual([second.line, second.host, second.key], [
      "GET /b HTTP/1.1",
      api.address,
      "secret-key",
    ]);
    equal(await setup.ask("other"), "forbidden");
    equal(await setup.ask(app.address), "forbidden");
    equal(await setup.ask("pg"), "kind_not_supported");
    const stream = await setup.dial("app");
    const end = await stream.outcome();
    equal(end.kind === "error" && end.code, "kind_not_supported");
    await untilEqual(() => setup.metric('culvert_agent_target_requests_total{target="app"}'), 1);
    await untilEqual(() => setup.metric('culvert_agent_target_requests_total{target="api"}'), 1);
    await untilEqual(() => setup.metric("agent_upstream_requests_total"), 2);
  });
});

Deno.test("a relay that asks for what the table does not name gets forbidden, and nothing is dialed", async () => {
  await using app = await startRawTarget(answering(ok200("app")));
  await using canary = await startRawTarget(answering(ok200("canary")));
  const [, port] = canary.address.split(":");
  const targets = [{ name: "app", address: app.address }, {
    name: "pg",
    address: app.address,
    kind: "tcp",
  }];
  await Setup.with(() => targets, async (setup) => {
    const names = [
      "canary",
      canary.address,
      `localhost:${port}`,
      `[::1]:${port}`,
      "",
      "app.",
      "App",
    ];
    for (const name of names) {
      equal(await setup.ask(name), "forbidden", `a request for "${name}"`);
      const end = await (await setup.dial(name, "PING")).outcome();
      equal(end.kind === "error" && end.code, "forbidden", `a connection to "${name}"`);
    }
    // Nor does what a request itself says lead there.
    const field = `X-Forwarded-Host: ${canary.address}`;
    equal(await setup.ask("app", `http://${canary.address}/`, [field]), "200");
    equal(canary.connections.length, 0);
  });
});

/** What a target was asked first. */
function requestOf(target: RawTarget) {
  const [line, ...rest] = target.connections[0]!.receivedText.split("\r\n");
  const valueOf = (name: string) =>
    rest.find((field) => field.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2);
  return { line, host: valueOf("host"), key: valueOf("x-api-key") };
}

Deno.test("an agent announces its targets and the hostnames that it claims, and shows them at /targets", async () => {
  const targets = [
    { name: "app", address: "app.example:80" },
    { name: "pg", address: "pg.example:5432", kind: "tcp", tls: {} },
  ];
  await Setup.with(() => targets, async (setup) => {
    const session = await setup.session();
    equal(session.settings.announces, true);
    await eventually(() => session.announcements.length > 0, "the announcement");
    const text = await Deno.readFile(`${setup.folder}/targets.yaml`);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
    const hostnames = [
      { hostname: "a.example.com", target: "app" },
      { hostname: "db.example.com", target: "pg" },
    ];
    deepEqual(session.announcements, [{
      targets: [{ name: "app", kind: "http", host: "app.example" }, { name: "pg", kind: "tcp" }],
      hostnames,
      hash,
    }]);
    deepEqual(JSON.parse(await setup.health("/targets")), {
      hash,
      targets: [
        { name: "app", kind: "http", address: "app.example:80", tls: false, credential: false },
        { name: "pg", kind: "tcp", address: "pg.example:5432", tls: true, credential: false },
      ],
      hostnames,
    });
    await session.link.send(0x12, 0, encoder.encode('{"code":"hostname_refused","message":"no"}'));
    const line = await setup.agent.waitForLog(({ message }) => message === "Notice from the relay");
    deepEqual([line.code, line.reason], ["hostname_refused", "no"]);
  }, ["--hostname", "A.example.com,db.example.com=pg"]);
});

Deno.test("an agent without a file announces its one target by its address, and no hash", async () => {
  await using relay = await V2Relay.start({ token });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    target: "127.0.0.1:9",
    args: ["--hostname", "hello.example.com"],
  });
  const session = await relay.session();
  await eventually(() => session.announcements.length > 0, "the announcement");
  deepEqual(session.announcements, [{
    targets: [{ name: "127.0.0.1:9", kind: "http" }],
    hostnames: [{ hostname: "hello.example.com", target: "127.0.0.1:9" }],
  }]);
  const response = await fetch(`http://${agent.healthAddress}/targets`);
  equal((await response.json()).hash, null);
});

Deno.test("a TCP stream is accepted once its target is connected, and each way ends by itself", async () => {
  await using target = await startRawTarget(echo);
  await Setup.with(
    () => [{ name: "pg", address: target.address, kind: "tcp" }],
    async (setup) => {
      const stream = await setup.dial("pg", "hello ");
      await stream.connected();
      await stream.send(encoder.encode("world"));
      equal(await textOf(stream, 11), "hello world");
      await stream.end();
      equal(await textOf(stream, 3), "bye");
      deepEqual(await stream.outcome(), { kind: "ended" });
      const open = 'culvert_agent_tcp_open_connections{target="pg"}';
      await eventually(async () => await setup.metric(open) === 0, "the connection to be over");
      await untilEqual(() => setup.metric('culvert_agent_tcp_connections_total{target="pg"}'), 1);
      const bytes = (direction: string) =>
        setup.metric(`culvert_agent_tcp_bytes_total{target="pg",direction="${direction}"}`);
      deepEqual([await bytes("to_target"), await bytes("from_target")], [11, 14]);
    },
  );
});

Deno.test("a TCP stream whose relay has ended before the target is connected is whole", async () => {
  await using target = await startRawTarget(echo);
  await Setup.with(
    () => [{ name: "pg", address: target.address, kind: "tcp" }],
    async (setup) => {
      const session = await setup.session();
      const stream = await session.open("tcp://pg", encoder.encode("all"));
      await stream.connected();
      equal(await textOf(stream, 6), "allbye");
      deepEqual(await stream.outcome(), { kind: "ended" });
    },
  );
});

Deno.test("a TCP stream whose target can't be reached says why, and is counted", async () => {
  const address = refusingAddress();
  await Setup.with(() => [
    { name: "away", address, kind: "tcp" },
    { name: "lost", address: "no-such-host.invalid:1", kind: "tcp" },
  ], async (setup) => {
    for (const [name, code] of [["away", "refused"], ["lost", "unreachable"]] as const) {
      const end = await (await setup.dial(name)).outcome();
      equal(end.kind === "error" && end.code, code);
      const series = `culvert_agent_target_errors_total{target="${name}",code="${code}"}`;
      await untilEqual(() => setup.metric(series), 1);
    }
    await untilEqual(
      () => setup.metric('culvert_agent_tcp_connections_total{target="away"}'),
      undefined,
    );
    const line = await setup.agent.waitForLog(({ target }) => target === "away");
    deepEqual([line.message, line.code], ["Could not connect to a TCP target", "refused"]);
  });
});

Deno.test("a TCP connection that breaks on one side breaks on the other", async () => {
  await using target = await startRawTarget(async (connection) => {
    await connection.reader.readSome();
    connection.reset();
  });
  await Setup.with(
    () => [{ name: "pg", address: target.address, kind: "tcp" }],
    async (setup) => {
      const broken = await setup.dial("pg", "x");
      await broken.connected();
      const end = await broken.outcome();
      equal(end.kind === "error" && end.code, "reset");
      const left = await setup.dial("pg");
      await left.connected();
      await left.close();
      const connection = await target.connection(1);
      await eventually(() => connection.isClosed, "the target's connection to end");
    },
  );
});

Deno.test("a TCP stream that nobody reads holds up its own target, and nothing else", async () => {
  const piece = new Uint8Array(64 * 1024);
  await using target = await startRawTarget(async (connection) => {
    // The pause comes when the kernel's buffers and the stream's window are full.
    try {
      while (connection.writtenBytes < 64 * 1024 * 1024) await connection.write(piece);
    } catch {
      // The agent resets the connection when the relay gives the stream up.
      await connection.closed;
    }
  });
  await using app = await startRawTarget(answering(ok200("app")));
  await Setup.with(() => [
    { name: "pg", address: target.address, kind: "tcp" },
    { name: "web", address: app.address },
  ], async (setup) => {
    const session = await setup.session();
    const options = { ends: false, grantsCredit: false };
    const stuck = await session.open("tcp://pg", new Uint8Array(0), options);
    await stuck.connected();
    const connection = await target.connection(0);
    await untilSteady(() => connection.writtenBytes, "what the target wrote");
    ok(connection.writtenBytes < 32 * 1024 * 1024, `${connection.writtenBytes} bytes`);
    equal(await setup.ask("web"), "200");
    await stuck.close();
    await eventually(() => connection.isClosed, "the target's connection to end");
  });
});

Deno.test("a TCP target that reads nothing holds up its own stream, and nothing else", async () => {
  await using target = await startRawTarget(() => {});
  await using app = await startRawTarget(answering(ok200("app")));
  await Setup.with(() => [
    { name: "pg", address: target.address, kind: "tcp" },
    { name: "web", address: app.address },
  ], async (setup) => {
    const stream = await setup.dial("pg");
    await stream.connected();
    let sent = 0;
    const piece = new Uint8Array(64 * 1024);
    const sending = (async () => {
      for (; sent < 64 * 1024 * 1024 && !stream.isOver; sent += piece.length) {
        await stream.send(piece);
      }
    })();
    await untilSteady(() => sent, "what was sent");
    ok(sent < 32 * 1024 * 1024, `${sent} bytes`);
    equal(await setup.ask("web"), "200");
    await stream.close();
    await sending;
  });
});

Deno.test("many TCP connections leave nothing behind in the agent", async () => {
  const count = Number(Deno.env.get("CULVERT_TEST_TCP_CONNECTIONS") ?? 300);
  await using target = await startRawTarget(echo);
  await Setup.with(
    () => [{ name: "pg", address: target.address, kind: "tcp" }],
    async (setup) => {
      const exchange = async () => {
        const stream = await setup.dial("pg", "x");
        await stream.connected();
        await stream.end();
        equal(await textOf(stream, 4), "xbye");
        deepEqual(await stream.outcome(), { kind: "ended" });
      };
      const inTurn = async (times: number) => {
        for (let done = 0; done < times; done += 20) {
          await Promise.all(Array.from({ length: 20 }, exchange));
        }
      };
      await inTurn(100);
      const before = openFiles(setup.agent.program.pid);
      await inTurn(count);
      await eventually(
        () => openFiles(setup.agent.program.pid) <= before + 2,
        () => `the agent's descriptors to be ${before} (${openFiles(setup.agent.program.pid)})`,
      );
      await untilEqual(() => setup.metric('culvert_agent_tcp_open_connections{target="pg"}'), 0);
      await untilEqual(() => setup.metric("agent_open_streams"), 0);
    },
  );
});

function openFiles(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

Deno.test("a changed targets file takes effect while streams of every target go on", async () => {
  await using target = await startRawTarget(echo);
  await using app = await startRawTarget(answering(ok200("app")));
  const pg = { name: "pg", address: target.address, kind: "tcp" };
  const web = { name: "web", address: app.address };
  await Setup.with(() => [pg, web], async (setup) => {
    const stream = await setup.dial("pg");
    await stream.connected();
    equal(await setup.ask("web"), "200");
    await setup.replace([web, { name: "new", address: app.address }]);
    equal(await setup.ask("new"), "200");
    equal(await setup.ask("web"), "200");
    // The same connection: a target that has not changed keeps its own.
    equal(app.connections.length, 2);
    const refused = await (await setup.dial("pg")).outcome();
    equal(refused.kind === "error" && refused.code, "forbidden");
    await stream.send(encoder.encode("still"));
    equal(await textOf(stream, 5), "still");
    await stream.end();
    equal(await textOf(stream, 3), "bye");
    deepEqual(await stream.outcome(), { kind: "ended" });
    await untilEqual(
      () => setup.metric('culvert_agent_tcp_connections_total{target="pg"}'),
      undefined,
    );
    const reloads = 'culvert_config_reloads_total{source="targets",result="applied"}';
    await untilEqual(() => setup.metric(reloads), 1);
    const line = await setup.agent.waitForLog(({ message }) =>
      message === "Configuration reloaded"
    );
    deepEqual([line.source, line.added, line.removed], ["targets", 1, 1]);
  });
});

Deno.test("targets that come and go lose no request of one that stays", async () => {
  await using app = await startRawTarget(answering(ok200("app")));
  const stays = { name: "stays", address: app.address };
  await Setup.with(() => [stays], async (setup) => {
    let isOver = false;
    const answers: Record<string, number> = {};
    const caller = async () => {
      while (!isOver) {
        const answer = await setup.ask("stays");
        answers[answer] = (answers[answer] ?? 0) + 1;
      }
    };
    const callers = Promise.all(Array.from({ length: 4 }, caller));
    for (let change = 1; change <= 6; change++) {
      const others = Array.from({ length: 20 }, (_, index) => ({
        name: `t${(index * change) % 23}`,
        address: index % change === 0 ? app.address : "127.0.0.1:9",
      }));
      const byName = new Map(others.map((other) => [other.name, other]));
      await setup.replace([...byName.values(), stays]);
      equal(await setup.ask("t0"), "200");
    }
    await setup.replace([stays]);
    equal(await setup.ask("t0"), "forbidden");
    isOver = true;
    await callers;
    deepEqual(Object.keys(answers), ["200"]);
    const text = await setup.health("/metrics");
    equal(text.includes('target="t0"'), false, "series of targets that are gone");
  });
});

Deno.test("a targets file that is not valid changes nothing, and says why", async () => {
  await using app = await startRawTarget(answering(ok200("app")));
  await Setup.with(() => [{ name: "web", address: app.address }], async (setup) => {
    equal(await setup.ask("web"), "200");
    await writeTargets(setup.folder, [{ name: "web", adress: app.address }]);
    const line = await setup.agent.waitForLog(({ source, level }) =>
      source === "targets" && level === "error"
    );
    match(
      String(line.reason),
      /, entry 1 \("web"\): unknown key "adress"; did you mean "address"\?/,
    );
    equal(await setup.ask("web"), "200");
    const refused = 'culvert_config_reloads_total{source="targets",result="refused"}';
    await untilEqual(() => setup.metric(refused), 1);
    equal((await setup.session()).announcements.length, 1);
  });
});

Deno.test("a target that refuses its credential is named, and counted by name", async () => {
  await using app = await startRawTarget(
    answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
  );
  await Setup.with(async (folder) => {
    await Deno.writeTextFile(`${folder}/token`, "old-token");
    return [{ name: "api", address: app.address, credential: { file: `${folder}/token` } }];
  }, async (setup) => {
    equal(await setup.ask("api"), "401");
    const line = await setup.agent.waitForLog(({ status }) => status === 401);
    deepEqual([line.target, line.path], ["api", `${setup.folder}/token`]);
    const series = 'culvert_agent_target_credential_refusals_total{target="api"}';
    await untilEqual(() => setup.metric(series), 1);
    const [request] = app.connections[0]!.receivedText.split("\r\n\r\n");
    ok(request?.endsWith("Authorization: Bearer old-token"));
    await Deno.remove(`${setup.folder}/token`);
    equal(await setup.ask("api"), "credentials");
  });
});

Deno.test("the health listener tells which file was not taken and why, until one is", async () => {
  const targets = [{ name: "web", address: "127.0.0.1:9" }];
  await Setup.with(() => targets, async ({ folder, agent }) => {
    const served = async () => await (await fetch(`http://${agent.healthAddress}/targets`)).json();
    const { hash, refused } = await served();
    equal(refused, undefined);
    const path = `${folder}/targets.yaml`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, "targets: [{name: web, address: nowhere}]");
    await eventually(async () => (await served()).refused !== undefined, "the refusal");
    const now = await served();
    equal(now.hash, hash, "the file before is in use");
    match(now.refused.reason, /entry 1 \("web"\).*address/);
    match(now.refused.hash, /^[0-9a-f]{64}$/);
    const [, host = "", port] = /^(.*):(\d+)$/.exec(agent.healthAddress)!;
    deepEqual(await probeTargets(host, Number(port)), { hash, refused: now.refused });
    await Deno.writeTextFile(path, `${text}\n`);
    await eventually(async () => (await served()).refused === undefined, "the refusal to go");
  });
});
