/** Services at hostnames, with the real programs. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { fieldValues, readHead, statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { get, startWebRelay, textOf, token } from "./setup.ts";

/** Answers with the head that it got, and a few fields for a service to change. */
const mirror = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  if (head.startsWith("GET /hold ")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  const host = /^host: (.*)\r$/im.exec(head)?.[1];
  return [
    "HTTP/1.1 200 OK",
    "Server: mirror",
    `Location: http://${host}/next?a#b`,
    `Set-Cookie: a=1; Path=/; Domain=127.0.0.1; HttpOnly`,
    "Set-Cookie: b=2; Domain=example.org",
    `Content-Length: ${bytes.length}`,
    "",
    head,
  ].join("\r\n");
});

function file(target: string, more = ""): string {
  return `
services:
  - name: plain
    hostnames: [plain.test, "*.many.test"]
    cluster: dev
    target: "${target}"
    policy: public
  - name: changed
    hostnames: [Changed.Test]
    cluster: dev
    target: "${target}"
    policy: public
    host: target
    authorization: culvert
    impersonation: strip
    headers: { set: { X-Frame-Options: DENY }, remove: [server] }
    cors: { origins: ["https://pages.test"] }
  - name: closed
    hostnames: [closed.test]
    cluster: dev
    target: "${target}"
    policy: none
${more}policies:
  - { name: none, any: [{ address: 192.0.2.1 }] }
`;
}

Deno.test("services behind one agent answer at their hostnames, each by its own rules", async (t) => {
  await using target = await startRawTarget(mirror);
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(path, file(target.address));
  const { relay, webAddress } = await startWebRelay(path, {
    cluster: { targetAddr: target.address },
  });
  await using _relay = relay;
  const agent = await startAgent({ relayUrl: relay.connectUrl, token, target: target.address });
  await using _agent = agent;

  await t.step(
    "the host finds the service in any case, with any port and a dot behind",
    async () => {
      for (
        const host of ["plain.test", "PLAIN.Test", "plain.test:1", "plain.test.", "a.many.test"]
      ) {
        const answer = await get(webAddress, host, "/x/..%2F//y?q=%20");
        equal(statusOf(answer), 200, host);
        match(textOf(answer), /^GET \/x\/\.\.%2F\/\/y\?q=%20 HTTP\/1\.1\r\n/);
        deepEqual([...textOf(answer).matchAll(/^host: (.*)\r$/gim)].map(([, it]) => it), [host]);
      }
    },
  );

  await t.step("other hosts get 421, and what is no host 400; neither says more", async () => {
    for (const host of ["other.test", "test", "b.a.many.test", "many.test", "127.0.0.1"]) {
      const answer = await get(webAddress, host);
      equal(statusOf(answer), 421, host);
      ok(!/plain|changed|closed/.test(textOf(answer)));
    }
    for (const host of ["", "a..test", "[::1]", ".plain.test", "plain.test..", "plain%2etest"]) {
      equal(statusOf(await get(webAddress, host)), 400, host);
    }
    const line = await relay.waitForLog(({ message, status }) =>
      message === "Refused a request" && status === 421
    );
    deepEqual([line.listener, line.host], ["web", "other.test"]);
  });

  await t.step("the authority of an absolute target counts, not Host", async () => {
    equal(statusOf(await get(webAddress, "other.test", "http://plain.test/x")), 200);
    equal(statusOf(await get(webAddress, "plain.test", "http://other.test/x")), 421);
  });

  await t.step(
    "the target sees whom a request comes from, and nothing that a caller says of that",
    async () => {
      const lies = [
        ...["X-Forwarded-User: eve", "X_Forwarded_User: eve", "x-forwarded-USER: eve"],
        ...[
          "Forwarded: for=1.2.3.4",
          "Remote-User: eve",
          "Cf-Access-Jwt-Assertion: e",
          "X-Webauth-User: e",
        ],
        ...["Culvert-Identity: eve", "Culvert_Identity: eve", "Tailscale-User-Login: eve"],
        "Culvert-Authorization: Bearer eve",
      ];
      const text = textOf(
        await get(webAddress, "plain.test:8443", "/", [
          ...lies,
          "Cookie: app=1",
        ]),
      );
      const kept = /^(?:x[-_]|forwarded|remote|cf-|culvert|tailscale|authorization|cookie)/i;
      const lines = text.split("\r\n").filter((line) => kept.test(line));
      deepEqual(lines.filter((line) => !/^X-Request-Id/i.test(line)), [
        "Cookie: app=1",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: plain.test:8443",
      ]);
    },
  );

  await t.step(
    "a target that knows itself by its own host alone gets it, and callers the public one",
    async () => {
      const answer = await get(webAddress, "changed.test:81", "/", [
        ...["Origin: http://changed.test:81", "Authorization: Basic app", "Impersonate-User: x"],
      ]);
      const head = textOf(answer);
      match(head, new RegExp(`^Host: ${target.address}\r$`, "m"));
      match(head, new RegExp(`^Origin: http://${target.address}\r$`, "m"));
      ok(!/^(?:authorization|impersonate)/im.test(head));
      deepEqual(fieldValues(answer, "location"), ["http://changed.test:81/next?a#b"]);
      deepEqual(fieldValues(answer, "set-cookie"), [
        "a=1; Path=/; Domain=changed.test; HttpOnly",
        "b=2; Domain=example.org",
      ]);
      deepEqual([fieldValues(answer, "server"), fieldValues(answer, "x-frame-options")], [[], [
        "DENY",
      ]]);
      const foreign = textOf(await get(webAddress, "changed.test", "/", ["Origin: http://e.test"]));
      match(foreign, /^Origin: http:\/\/e\.test\r$/m);
    },
  );

  await t.step("listed origins may read, and their preflights are answered", async () => {
    const asks = ["Origin: https://pages.test", "Access-Control-Request-Method: PUT"];
    const preflight = await get(webAddress, "changed.test", "/", asks, "OPTIONS");
    equal(statusOf(preflight), 204);
    deepEqual(fieldValues(preflight, "access-control-allow-methods"), ["PUT"]);
    const line = await relay.waitForLog(({ message, method }) =>
      message === "Request" && method === "OPTIONS"
    );
    deepEqual([line.service, line.status], ["changed", 204]);
    const read = await get(webAddress, "changed.test", "/", ["Origin: https://pages.test"]);
    deepEqual(fieldValues(read, "access-control-allow-origin"), ["https://pages.test"]);
    const other = await get(webAddress, "changed.test", "/", ["Origin: https://eve.test"]);
    deepEqual(fieldValues(other, "access-control-allow-origin"), []);
  });

  await t.step("impersonation is refused unless the service allows it", async () => {
    for (const line of ["Impersonate-User: x", "impersonate_group: y"]) {
      const answer = await get(webAddress, "plain.test", "/", [line]);
      equal(statusOf(answer), 403, line);
      match(textOf(answer), /impersonation_not_allowed.*service plain/);
    }
  });

  await t.step("paths below /.culvert/ are culvert's, and only as they are spelled", async () => {
    for (const path of ["/.culvert/x", "/.culvert/", "/.culvert", "/.culvert?x"]) {
      equal(statusOf(await get(webAddress, "plain.test", path)), 404, path);
    }
    for (const path of ["/.culvertx", "/%2eculvert/x", "//.culvert/x", "/a/../.culvert/x"]) {
      equal(statusOf(await get(webAddress, "plain.test", path)), 200, path);
    }
    equal(statusOf(await get(webAddress, "plain.test", "/tunnel/dev/x")), 200);
  });

  await t.step("a policy that lets nobody in is no open door", async () => {
    ok([401, 403].includes(statusOf(await get(webAddress, "closed.test"))));
  });

  await t.step("log and metrics name the service", async () => {
    const line = await relay.waitForLog(({ message, service }) =>
      message === "Request" && service === "changed"
    );
    deepEqual([line.cluster, line.hostname], ["dev", "changed.test"]);
    const response = await fetch(`http://${relay.internalAddress}/metrics`);
    const metrics = await response.text();
    match(
      metrics,
      /culvert_service_requests_total\{service="changed",method="GET",code="200"\} \d+/,
    );
    match(metrics, /culvert_service_open_requests\{service="plain"\} 0/);
  });

  await t.step(
    "a changed file adds and removes services, and leaves the others alone",
    async () => {
      const staying = await openConnection(webAddress);
      await using _staying = staying;
      await staying.write("GET /hold HTTP/1.1\r\nHost: plain.test\r\n\r\n");
      await within(readHead(staying.reader), "the head of an answer that stays");
      const going = await openConnection(webAddress);
      await using _going = going;
      await going.write("GET /hold HTTP/1.1\r\nHost: changed.test\r\n\r\n");
      await within(readHead(going.reader), "the head of an answer that goes");

      await Deno.writeTextFile(path, "services: [");
      await relay.waitForLog(({ message }) =>
        message.startsWith("Refused a changed configuration")
      );
      equal(statusOf(await get(webAddress, "changed.test")), 200);

      const added = `  - name: added
    hostnames: [added.test]
    cluster: dev
    target: "${target.address}"
    policy: public
`;
      const text = file(target.address, added).replace(
        / {2}- name: changed[\s\S]*?(?= {2}- name: closed)/,
        "",
      );
      await Deno.writeTextFile(path, text);
      const reloaded = await relay.waitForLog(({ message, source }) =>
        message === "Configuration reloaded" && source === "services"
      );
      deepEqual([reloaded.services, reloaded.added, reloaded.removed], [3, 1, 1]);
      equal(statusOf(await get(webAddress, "added.test")), 200);
      equal(statusOf(await get(webAddress, "changed.test")), 421);
      await eventually(
        () => going.isClosed || going.isEnded,
        "the removed service's request to end",
      );
      const line = await relay.waitForLog(({ message, code }) =>
        message === "Request" && code === "service_removed"
      );
      equal(line.service, "changed");
      ok(!staying.isClosed);
    },
  );
  await Deno.remove(path);
});

Deno.test("a service of a cluster or a target that nobody has is answered with 502", async () => {
  await using target = await startRawTarget(mirror);
  const service = (name: string, cluster: string, target: string) => ({
    name,
    hostnames: [`${name}.test`],
    cluster,
    target,
    policy: "public",
  });
  const services = [
    service("nobody", "ghost", "x"),
    service("away", "dev", "absent-target"),
    service("here", "dev", target.address),
  ];
  const { relay, webAddress } = await startWebRelay(JSON.stringify({ services }));
  await using _relay = relay;
  match(textOf(await get(webAddress, "here.test")), /"code":"cluster_not_available"/);
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    target: target.address,
  });
  await relay.waitForAgent("dev");
  for (
    const [host, code] of [["nobody", "cluster_not_available"], ["away", "target_not_available"]]
  ) {
    const answer = await get(webAddress, `${host}.test`);
    equal(statusOf(answer), 502);
    match(textOf(answer), new RegExp(`"code":"${code}"`));
  }
  equal(statusOf(await get(webAddress, "here.test")), 200);
  await relay.waitForLog(({ message }) => /cluster "ghost", which is not among/.test(message));
});

Deno.test("the relay's own name on the web listener is for agents, and services can't have it", async () => {
  await using target = await startRawTarget(mirror);
  const services = JSON.stringify({
    services: [{
      name: "app",
      hostnames: ["app.test"],
      cluster: "dev",
      target: target.address,
      policy: "public",
    }],
  });
  const { relay, webAddress } = await startWebRelay(services, {
    args: ["-web-relay-host", "relay.test"],
  });
  await using _relay = relay;
  equal(statusOf(await get(webAddress, "relay.test", "/healthz")), 200);
  equal(statusOf(await get(webAddress, "relay.test", "/connect")), 401);
  equal(statusOf(await get(webAddress, "relay.test", "/tunnel/dev/")), 404);
  equal(statusOf(await get(webAddress, "app.test", "/connect")), 502);
});
