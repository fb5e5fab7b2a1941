/** One hostname, several targets behind one agent: the path says which. */
import { deepEqual, equal, match } from "node:assert/strict";
import { within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { fieldValues, readHead, readRequest, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { get, startWebRelay, textOf, token } from "./setup.ts";

/** Says which target it is, and what it was asked; or repeats bytes after an upgrade. */
function target(name: string) {
  return startRawTarget(async (connection: RawConnection) => {
    while (!connection.isClosed) {
      const request = await readRequest(connection.reader);
      if (fieldValues(request, "upgrade").length > 0) return await repeat(name, connection);
      const [method, path] = request.startLine.split(" ");
      const body = `${name} ${method} ${path} ${textOf(request)}`;
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    }
  });
}

async function repeat(name: string, connection: RawConnection): Promise<void> {
  await connection.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n${name}:`,
  );
  for (;;) {
    const bytes = await connection.reader.readSome();
    if (!bytes) break;
    await connection.write(bytes);
  }
  connection.end();
}

/** A relay and an agent with `/` for one target, `/api` for another, and a hook for a third. */
async function start() {
  await using stack = new AsyncDisposableStack();
  const [web, api, hook] = [
    stack.use(await target("web")),
    stack.use(await target("api")),
    stack.use(await target("hook")),
  ];
  const targets = await Deno.makeTempFile({ suffix: ".yaml" });
  stack.defer(() => Deno.remove(targets));
  await Deno.writeTextFile(
    targets,
    `targets:
  - { name: web, address: "${web.address}" }
  - { name: api, address: "${api.address}" }
  - { name: hook, address: "${hook.address}" }
  - name: app
    paths:
      - { value: /, target: web }
      - { value: /api, target: api }
      - { type: Exact, value: /api/hook, target: hook }
  - { name: part, paths: [{ value: /only, target: web }] }
`,
  );
  const service = (name: string) => ({
    ...{ name, hostnames: [`${name}.test`], cluster: "dev", target: name, policy: "public" },
  });
  const services = [
    service("app"),
    service("part"),
    service("api"),
  ];
  const { relay, webAddress } = await startWebRelay(JSON.stringify({ services }), {
    cluster: { targetAddr: undefined },
  });
  stack.use(relay);
  stack.use(await startAgent({ relayUrl: relay.connectUrl, token, args: ["-targets", targets] }));
  await relay.waitForAgent("dev");
  const end = stack.move();
  return { webAddress, [Symbol.asyncDispose]: () => end[Symbol.asyncDispose]() };
}

Deno.test("requests of one connection, one by one and pipelined, reach each the target of its path", async () => {
  await using setup = await start();
  await using connection = await openConnection(setup.webAddress);
  const paths = ["/", "/api", "/api/hook", "/apis", "/api/hook/", "/x?y=/api", "/api/a%2Fb"];
  const names = ["web", "api", "hook", "web", "api", "web", "api"];
  const request = (index: number) => {
    const path = paths[index % paths.length]!;
    const body = `${index} ${"x".repeat(index * 37)}`;
    const expected = `${names[index % names.length]!} POST ${path} ${body}`;
    const head = [`POST ${path} HTTP/1.1`, "Host: app.test", `Content-Length: ${body.length}`];
    return { text: [...head, "", body].join("\r\n"), expected };
  };
  const requests = Array.from({ length: 28 }, (_, index) => request(index));
  for (const { text, expected } of requests) {
    await connection.write(text);
    equal(textOf(await within(readResponse(connection.reader), expected)), expected);
  }
  // All heads and bodies at once: each next one lies in the bytes behind the one before.
  await connection.write(requests.map(({ text }) => text).join(""));
  for (const { expected } of requests) {
    equal(textOf(await within(readResponse(connection.reader), expected)), expected);
  }
});

Deno.test("an upgrade reaches the target of its path, and its connection stays there", async () => {
  await using setup = await start();
  for (const [path, name] of [["/api/stream", "api"], ["/stream", "web"], ["/api/hook", "hook"]]) {
    await using connection = await openConnection(setup.webAddress);
    await connection.write(
      `GET ${path} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`,
    );
    equal(statusOf(await within(readHead(connection.reader), "101")), 101);
    const next = "GET /api HTTP/1.1\r\n\r\n";
    await connection.write(next);
    const text = `${name}:${next}`;
    const bytes = await within(connection.reader.readExactly(text.length), text);
    equal(new TextDecoder().decode(bytes), text);
  }
});

Deno.test("a path that leads nowhere is answered by culvert, like other errors of its own", async () => {
  await using setup = await start();
  const ask = (path: string) => get(setup.webAddress, "part.test", path);
  equal(statusOf(await ask("/only/this")), 200);
  for (const path of ["/", "/other", "/onlythis", "/only/../other", "/only%2Fthis", "/%6fnly"]) {
    const answer = await ask(path);
    equal(statusOf(answer), 404, path);
    deepEqual(fieldValues(answer, "content-type"), ["application/json"]);
    const { error } = JSON.parse(textOf(answer));
    deepEqual(error, {
      code: "path_not_served",
      message: "nothing is published at this path",
    });
  }
  // What is behind paths has no name of its own for the relay.
  const answer = await get(setup.webAddress, "api.test", "/");
  equal(statusOf(answer), 502);
  match(textOf(answer), /"code":"target_not_available"/);
});
