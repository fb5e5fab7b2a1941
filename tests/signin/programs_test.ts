import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { originOf, SocketBrowser, startSystem } from "./programs.ts";
import { navigation } from "./world.ts";

/** Answers with the head that it got; some paths do more. */
const mirror = answering(({ bytes }) => {
  const head = new TextDecoder("latin1").decode(bytes);
  if (head.startsWith("GET /hold ")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  if (head.startsWith("GET /socket ")) {
    return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Accept: x\r\n\r\n";
  }
  return [
    "HTTP/1.1 200 OK",
    "Set-Cookie: app=1; Path=/",
    "Set-Cookie: culvert-dev=stolen; Path=/",
    "Set-Cookie: wide=1; Domain=localhost",
    'Clear-Site-Data: "cookies", "cache"',
    "Cache-Control: public, max-age=60",
    `Content-Length: ${bytes.length}`,
    "",
    head,
  ].join("\r\n");
});

/** The services' file with `office` and `robots`, which no sign-in opens to those who are on loopback. */
function withClosedServices(text: string): string {
  const policies = [
    "  - { name: office, all: [{ address: 203.0.113.0/24 }, { emailDomain: example.com }] }",
    "  - { name: robots, any: [{ token: ci }] }",
  ];
  const app = /^ {2}- \{ name: app,[^}]*\}$/m.exec(text)![0];
  const services = ["office", "robots"].map((name) =>
    app.replaceAll("app", name).replace("policy: staff", `policy: ${name}`)
  );
  return text.replace("\nservices:\n", `\n${policies.join("\n")}\nservices:\n`) +
    services.join("\n");
}

Deno.test("Nobody is sent to sign in where that lets them in nowhere", async (t) => {
  await using target = await startRawTarget(mirror);
  await using system = await startSystem(target.address, withClosedServices);
  const stranger = new SocketBrowser();
  const ask = async (name: string) => {
    const answer = await stranger.send(`${originOf(system, name)}/`, { headers: navigation });
    const { signInUrl } = JSON.parse(
      (await stranger.send(`${originOf(system, name)}/.culvert/whoami`)).text,
    );
    return [answer.status, answer.headers["location"] !== undefined, signInUrl];
  };
  await t.step("an address that no credential changes: 403", async () => {
    assert.deepEqual(await ask("office"), [403, false, null]);
  });
  await t.step("a token that nobody gets by signing in: 401, and no redirect", async () => {
    assert.deepEqual(await ask("robots"), [401, false, null]);
  });
  await t.step("people: a redirect", async () => {
    assert.deepEqual(await ask("app"), [302, true, `${originOf(system, "app")}/.culvert/login`]);
  });
});

Deno.test("People sign in to services of a real relay, and what they may do ends with their session", async (t) => {
  await using target = await startRawTarget(mirror);
  const pages = "https://pages.example.com";
  await using system = await startSystem(
    target.address,
    (text) => text.replace("[/manifest.json]", `[/manifest.json], cors: { origins: ["${pages}"] }`),
  );
  const app = originOf(system, "app");
  const other = originOf(system, "other");
  const login = originOf(system, "login");
  const browser = new SocketBrowser();

  await t.step(
    "a page leads through the provider to itself, and the target sees no cookie of the relay's",
    async () => {
      browser.jar("app.localhost").set("theirs", "a=b");
      const page = await browser.open(`${app}/deep%2F?x=1`);
      assert.equal(page.status, 200, page.text);
      assert.equal(page.url, `${app}/deep%2F?x=1`);
      assert.match(page.text, /^GET \/deep%2F\?x=1 HTTP\/1\.1\r\n/);
      assert.match(page.text, /^cookie: theirs=a=b\r$/im);
      assert.doesNotMatch(page.text, /culvert-dev/);
      assert.ok(browser.jar("app.localhost").get("culvert-dev")!.length > 100);
    },
  );

  await t.step(
    "a target's answer sets no cookie of the relay's or of other hosts, and clears none",
    async () => {
      const page = await browser.open(`${app}/`);
      assert.deepEqual(page.headers["set-cookie"], ["app=1; Path=/"]);
      assert.equal(page.headers["clear-site-data"], '"cache"');
      assert.equal(page.headers["cache-control"], "private, max-age=60");
      assert.match(String(page.headers["vary"]), /Cookie/);
      assert.match(String(page.headers["content-security-policy"]), /frame-ancestors 'self'/);
    },
  );

  await t.step("scripts without a session get 401 and the URL where to sign in", async () => {
    const answer = await new SocketBrowser().send(`${app}/x`, {
      headers: { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" },
    });
    assert.equal(answer.status, 401);
    assert.equal(JSON.parse(answer.text).error.signInUrl, `${app}/.culvert/login`);
  });

  await t.step(
    "paths that anybody may use need no session, and only as they are spelled",
    async () => {
      const anybody = new SocketBrowser();
      assert.equal((await anybody.send(`${app}/manifest.json?v=1`)).status, 200);
      for (const path of ["/manifest.json/", "/manifest%2ejson", "/Manifest.json"]) {
        assert.equal((await anybody.send(app + path)).status, 401, path);
      }
    },
  );

  await t.step(
    "a preflight is answered where cors lists the origin, else it gets 401",
    async () => {
      const preflight = async (origin: string) =>
        await new SocketBrowser().send(`${app}/x`, {
          method: "OPTIONS",
          headers: {
            Origin: origin,
            "Access-Control-Request-Method": "PUT",
            "Sec-Fetch-Mode": "cors",
            "Sec-Fetch-Site": "cross-site",
          },
        });
      const listed = await preflight(pages);
      assert.equal(listed.status, 204);
      assert.equal(listed.headers["access-control-allow-origin"], pages);
      for (const origin of [other, "https://pages.example.com.evil.test", "null"]) {
        const answer = await preflight(origin);
        assert.equal(answer.status, 401, origin);
        assert.equal(answer.headers["location"], undefined);
        assert.equal(answer.headers["set-cookie"], undefined);
        assert.equal(answer.headers["access-control-allow-origin"], undefined);
      }
      const headers = { Origin: pages, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site" };
      assert.equal((await browser.send(`${app}/x`, { headers })).status, 200);
      const foreign = { ...headers, Origin: other };
      assert.equal((await browser.send(`${app}/x`, { headers: foreign })).status, 403);
    },
  );

  await t.step(
    "a second service asks the provider for nothing, and a third one's policy says no",
    async () => {
      assert.equal((await browser.open(`${other}/`)).status, 200);
      const denied = await browser.open(`${originOf(system, "closed")}/`);
      assert.equal(denied.status, 403);
      assert.match(denied.text, /ann@example\.com/);
      assert.match(denied.text, /&quot;admins&quot; in groups/);
    },
  );

  await t.step("the portal lists what the policies open, and no more", async () => {
    const portal = await browser.open(`${login}/`);
    for (const name of ["app", "other", "open"]) {
      assert.ok(portal.text.includes(`href="${originOf(system, name)}/"`), portal.text);
    }
    assert.doesNotMatch(portal.text, /closed/);
    assert.equal(portal.text.match(/>Connected</g)?.length, 3);
  });

  await t.step("whoami says what is there and who has signed in", async () => {
    const ask = async (origin: string, by = browser) =>
      JSON.parse((await by.send(`${origin}/.culvert/whoami`)).text);
    const signInUrl = `${app}/.culvert/login`;
    assert.deepEqual(await ask(app), {
      service: "app",
      kind: "http",
      signedIn: true,
      allowed: true,
      name: "ann@example.com",
      signInUrl,
    });
    assert.equal((await ask(app, new SocketBrowser())).signedIn, false);
    const open = await ask(originOf(system, "open"));
    assert.equal(open.signedIn, false);
    assert.equal(open.signInUrl, null);
  });

  const upgrade = async (origin: string | undefined) => {
    const connection = await openConnection(`127.0.0.1:${system.port}`);
    const lines = [
      "GET /socket HTTP/1.1",
      `Host: app.localhost:${system.port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      ...origin === undefined ? [] : [`Origin: ${origin}`],
      `Cookie: ${browser.cookies("app.localhost")}`,
    ];
    await connection.write([...lines, "", ""].join("\r\n"));
    const status = statusOf(await within(readHead(connection.reader), "the answer"));
    return { connection, status };
  };

  await t.step("a WebSocket needs exactly the service's own origin", async () => {
    const foreign = [undefined, "null", other, login, app.replace("http:", "https:") + "x"];
    foreign.push(`http://app.localhost:${system.port + 1}`, "http://app.localhost");
    for (const origin of foreign) {
      const { connection, status } = await upgrade(origin);
      assert.equal(status, 403, String(origin));
      connection.destroy();
    }
    const { connection, status } = await upgrade(app);
    assert.equal(status, 101);
    connection.destroy();
  });

  await t.step("a sibling's form is refused, and a link from a mail works", async () => {
    const form = await browser.send(`${app}/x`, {
      method: "POST",
      headers: { "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", Origin: other },
    });
    assert.equal(form.status, 403);
    const link = await browser.send(`${app}/x`, {
      headers: {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
      },
    });
    assert.equal(link.status, 200);
  });

  await t.step("a service worker's script is refused", async () => {
    const answer = await browser.send(`${app}/sw.js`, {
      headers: { "Service-Worker": "script", "Sec-Fetch-Site": "same-origin" },
    });
    assert.equal(answer.status, 403);
  });

  await t.step("signing out ends what is open, within two seconds", async () => {
    const { connection, status } = await upgrade(app);
    assert.equal(status, 101);
    const ended = Promise.withResolvers<number>();
    const began = performance.now();
    connection.closed.then(() => ended.resolve(performance.now() - began));
    const out = await browser.send(`${other}/.culvert/logout`, {
      method: "POST",
      headers: { Origin: other },
    });
    assert.equal(out.status, 303);
    assert.match(String(out.headers["location"]), /\/session\/end\?client_id=culvert/);
    assert.ok(await within(ended.promise, "the end of the WebSocket") < 5_000);
    const after = await browser.send(`${app}/x`, { headers: { "Sec-Fetch-Mode": "cors" } });
    assert.equal(after.status, 401);
  });

  await t.step("a policy that is made narrower ends what it does not let in any more", async () => {
    assert.equal((await browser.open(`${app}/`)).status, 200);
    const { connection, status } = await upgrade(app);
    assert.equal(status, 101);
    const closed = connection.closed;
    await Deno.writeTextFile(
      system.services,
      system.text.replace("emailDomain: example.com", "emailDomain: example.org"),
    );
    await within(closed, "the end of the WebSocket");
    await eventually(async () => (await browser.open(`${app}/`)).status === 403, "the policy");
  });

  await t.step("a person whose rule is about other requests is told which", async () => {
    const { text, services } = system;
    const rule = "emailDomain: example.com, methods: [GET], paths: [/docs/]";
    await Deno.writeTextFile(services, text.replace("emailDomain: example.com", rule));
    await eventually(
      async () => (await browser.open(`${app}/docs/x`)).status === 200,
      "the policy",
    );
    const page = await browser.open(`${app}/x`);
    assert.equal(page.status, 403);
    assert.match(page.text, /lets you in only with GET, below \/docs\/\./);
    const headers = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };
    const answer = await browser.send(`${app}/docs/x`, { method: "DELETE", headers });
    assert.equal(answer.status, 403);
    const { message, missing } = JSON.parse(answer.text).error;
    assert.match(message, /lets this account in only with GET, below \/docs\/$/);
    assert.deepEqual(missing, ["a verified e-mail address at example.com, with GET, below /docs/"]);
    assert.equal((await upgrade(app)).status, 403);
    const ambiguous = await browser.send(`${app}/docs/%252e%252e/x`, { headers });
    assert.equal(ambiguous.status, 400);
    // Signing in helps with what a rule is about, and with nothing else.
    const stranger = new SocketBrowser();
    const statusFor = async (method: string, path: string) =>
      (await stranger.send(`${app}${path}`, { method, headers })).status;
    assert.equal(await statusFor("GET", "/docs/x"), 401);
    assert.equal(await statusFor("DELETE", "/docs/x"), 403);
    assert.equal(await statusFor("GET", "/x"), 403);
    const whoami = await browser.send(`${app}/.culvert/whoami`, { headers });
    assert.equal(JSON.parse(whoami.text).allowed, true);
    assert.match((await browser.open(`${login}/`)).text, /app\.localhost/);
  });

  await t.step("no log line has a code, a state, a cookie or a token", async () => {
    const log = JSON.stringify(await system.relay.completeLog());
    assert.doesNotMatch(log, /eyJ|culvert-dev|state=|code=/);
    assert.match(log, /Signed in/);
    assert.match(log, /People sign in without TLS/);
  });
});
