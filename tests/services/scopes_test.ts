/** Rules with methods and paths, with the real programs. */
import { deepEqual, equal, match } from "node:assert/strict";
import { hashToken } from "../../lib/relay/digests.ts";
import { within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { get, startWebRelay, textOf, token } from "./setup.ts";

/** Answers with the request line that it got, or holds its answer open. */
const mirror = answering(({ bytes }) => {
  const [line] = new TextDecoder().decode(bytes).split("\r\n");
  if (line === "GET /hold HTTP/1.1") return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  return `HTTP/1.1 200 OK\r\nContent-Length: ${line!.length}\r\n\r\n${line}`;
});

const tokens = ["viewer", "editor"].map((name) => ({
  ...{ name, token: `token-of-the-${name}-0123456789`, clusters: ["*"] },
}));

const robot = "token-of-the-robot-0123456789";
const tokenSha256 = await hashToken(robot);

function file(target: string, editor: object = {}): string {
  return JSON.stringify({
    services: [
      { name: "app", hostnames: ["app.test"], cluster: "dev", target, policy: "app" },
      { name: "plain", hostnames: ["plain.test"], cluster: "dev", target, policy: "plain" },
    ],
    policies: [
      {
        name: "app",
        any: [{ token: "robot", tokenSha256, methods: ["GET"] }, {
          token: "viewer",
          methods: ["GET"],
          paths: ["/api/"],
        }, {
          token: "editor",
          ...editor,
        }],
      },
      { name: "plain", any: [{ token: "viewer" }] },
    ],
  });
}

Deno.test("rules with methods and paths decide at a hostname and under a cluster's path", async (t) => {
  await using target = await startRawTarget(mirror);
  const path = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(path, file(target.address));
  const { relay, webAddress } = await startWebRelay(path, {
    cluster: { targetAddr: target.address, callerPolicy: "app" },
    args: ["-caller-tokens", JSON.stringify(tokens)],
  });
  await using _relay = relay;
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    target: target.address,
  });
  await relay.waitForAgent("dev");
  const bearer = (name: string) => [`Authorization: Bearer token-of-the-${name}-0123456789`];
  const ask = async (line: string, name: string, host = "app.test") => {
    const [method, path] = line.split(" ");
    const message = await get(webAddress, host, path, bearer(name), method);
    return [statusOf(message), textOf(message)] as const;
  };

  await t.step("each reaches what its rule is about", async () => {
    deepEqual(await ask("GET /api/x?y=/z", "viewer"), [200, "GET /api/x?y=/z HTTP/1.1"]);
    deepEqual(await ask("DELETE /x", "editor"), [200, "DELETE /x HTTP/1.1"]);
    const [status, text] = await ask("DELETE /api/x", "viewer");
    equal(status, 403);
    match(text, /the policy lets this caller in only with GET, below \/api\//);
    equal(statusOf(await get(webAddress, "app.test", "/api/", [], "DELETE")), 401);
  });

  await t.step("no ambiguous path passes, but at a service without rules about paths", async () => {
    for (
      const path of ["/api/../x", "/api/%2e%2e/x", "/api%2fx", "//api/", "/api/;x", "/api/\\x"]
    ) {
      for (const name of ["viewer", "editor"]) {
        const [status, text] = await ask(`GET ${path}`, name);
        equal(status, 400, path);
        match(text, /rules about paths/);
      }
      deepEqual(await ask(`GET ${path}`, "viewer", "plain.test"), [200, `GET ${path} HTTP/1.1`]);
    }
  });

  await t.step("a cluster's policy compares the path that its target gets", async () => {
    const tunnel = async (line: string, name: string) => {
      const [method, path] = line.split(" ");
      const address = relay.internalAddress;
      const message = await get(address, address, `/tunnel/dev${path}`, bearer(name), method);
      return [statusOf(message), textOf(message)] as const;
    };
    deepEqual(await tunnel("GET /api/x", "viewer"), [200, "GET /api/x HTTP/1.1"]);
    equal((await tunnel("POST /api/x", "viewer"))[0], 403);
    equal((await tunnel("GET /tunnel/dev/api/", "viewer"))[0], 403);
    equal((await tunnel("GET /api/../x", "editor"))[0], 400);
    deepEqual(await tunnel("POST /x", "editor"), [200, "POST /x HTTP/1.1"]);
  });

  await t.step("a policy's own token opens its services, and no cluster's path", async () => {
    deepEqual(await ask("GET /x", "robot"), [200, "GET /x HTTP/1.1"]);
    equal((await ask("POST /x", "robot"))[0], 403);
    equal((await ask("GET /x", "robot", "plain.test"))[0], 401);
    const { internalAddress: address } = relay;
    equal(statusOf(await get(address, address, "/tunnel/dev/x", bearer("robot"))), 401);
    await relay.waitForLog(({ caller, status }) => caller === "app/robot" && status === 200);
  });

  await t.step("what is open ends when its rule is about other methods", async () => {
    await using connection = await openConnection(webAddress);
    await connection.write(
      ["GET /hold HTTP/1.1", "Host: app.test", ...bearer("editor"), "", ""].join("\r\n"),
    );
    equal(statusOf(await within(readHead(connection.reader), "the head of what is held")), 200);
    await Deno.writeTextFile(path, file(target.address, { methods: ["POST"] }));
    await within(connection.closed, "the end of what is held");
    const log = JSON.stringify(await relay.completeLog());
    equal(log.includes(robot) || log.includes(tokenSha256), false);
  });
});
