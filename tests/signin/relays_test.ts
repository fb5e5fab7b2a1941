/** Sign-in at several real relays that share a Redis: a balancer sends each request to another. */
import assert from "node:assert/strict";
import { clustersFor, relayToken, tokenOf } from "../directory/relays.ts";
import { eventually, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { freePort } from "../support/free_port.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { clientId, clientSecret, FakeProvider } from "./fake_provider.ts";
import { beginAuthorization, readCallback } from "../../lib/access/authorization.ts";
import { consent, nextOf } from "./program_browser.ts";
import { originOf, SocketBrowser } from "./programs.ts";
import { navigation } from "./world.ts";

const mirror = answering(({ bytes }) => {
  const head = new TextDecoder("latin1").decode(bytes);
  if (head.startsWith("GET /socket ")) {
    return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Accept: x\r\n\r\n";
  }
  return `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
});

const ann = { sub: "ann-1", email: "ann@example.com", email_verified: true };
const bob = { sub: "bob-1", email: "bob@example.com", email_verified: true };
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };

/** Relays, each with the port of its web listener and its audit log. */
interface Relays extends AsyncDisposable {
  /** In the URLs of the services; the balancer's, so to say. */
  readonly port: number;
  readonly ports: readonly number[];
  readonly relays: readonly RunningRelay[];
  readonly redis: Redis;
  readonly provider: FakeProvider;
  audited(relay: number): Promise<Record<string, unknown>[]>;
}

async function startRelays(count: number): Promise<Relays> {
  const stack = new AsyncDisposableStack();
  const target = stack.use(await startRawTarget(mirror));
  const redis = stack.use(await Redis.start());
  const { provider } = stack.use(await FakeProvider.listen());
  const folder = await Deno.makeTempDir();
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const ports: number[] = [];
  while (ports.length < count) ports.push(freePort());
  const port = ports[0]!;
  const files = { services: `${folder}/services.yaml`, keys: `${folder}/keys` };
  const service = (name: string) =>
    `{ name: ${name}, hostnames: ["${name}.localhost:${port}"], cluster: one, ` +
    `target: "${target.address}", policy: staff }`;
  await Deno.writeTextFile(
    files.services,
    `
login: { host: "login.localhost:${port}" }
providers:
  - { name: corp, kind: oidc, issuer: "${provider.issuer}", clientId: ${clientId},
      clientSecret: ${clientSecret} }
policies: [{ name: staff, any: [{ emailDomain: example.com }] }]
services: [${service("app")}, ${service("other")}]
`,
  );
  await Deno.writeTextFile(files.keys, new Uint8Array(32).fill(5).toBase64());
  const relays: RunningRelay[] = [];
  for (const [index, port] of ports.entries()) {
    const relay = stack.use(
      await startRelay({
        clusters: clustersFor({ one: target.address }),
        args: [
          ...["--directory", redis.url, "--advertise", "http://127.0.0.1:0"],
          ...["-services", files.services, "--session-keys", files.keys],
          ...["-web-addr", `127.0.0.1:${port}`, "--audit-log", `${folder}/audit-${index}`],
        ],
        env: { RELAY_TOKEN: relayToken },
      }),
    );
    await relay.waitForLog(({ message }) => message === "The directory is available");
    relays.push(relay);
  }
  stack.use(
    await startAgent({
      relayUrl: relays[0]!.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    }),
  );
  await relays[0]!.waitForAgent("one");
  const owned = stack.move();
  return {
    ...{ port, ports, relays, redis, provider },
    async audited(relay) {
      const text = await Deno.readTextFile(`${folder}/audit-${relay}`);
      // The last line may be on its way.
      return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Its requests go to one relay after the other. */
function balanced({ port, ports }: Relays): SocketBrowser {
  const browser = new SocketBrowser();
  let sent = 0;
  browser.portOf = (url) =>
    Number(url.port) === port ? ports[sent++ % ports.length]! : Number(url.port);
  return browser;
}

/** A browser whose requests go to one relay. */
function at(relays: Relays, relay: number, from: SocketBrowser): SocketBrowser {
  const browser = new SocketBrowser();
  browser.portOf = (url) =>
    Number(url.port) === relays.port ? relays.ports[relay]! : Number(url.port);
  for (const [host, jar] of from.jars) browser.jars.set(host, jar);
  return browser;
}

async function openSocket(relays: Relays, relay: number, browser: SocketBrowser) {
  const connection = await openConnection(`127.0.0.1:${relays.ports[relay]}`);
  const lines = [
    "GET /socket HTTP/1.1",
    `Host: app.localhost:${relays.port}`,
    ...["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    `Origin: ${originOf(relays, "app")}`,
    `Cookie: ${browser.cookies("app.localhost")}`,
  ];
  await connection.write([...lines, "", ""].join("\r\n"));
  const head = await within(readHead(connection.reader), "the answer");
  assert.equal(statusOf(head), 101);
  return connection;
}

Deno.test({
  name: "People sign in through several relays, and what ends a session at one ends it at all",
  ignore: !hasRedis,
  async fn(t) {
    await using relays = await startRelays(3);
    const app = originOf(relays, "app");
    const login = originOf(relays, "login");
    const browser = balanced(relays);
    relays.provider.account = ann;
    // The agent is at the first relay; the others find it.
    await eventually(async () => {
      const page = await balanced(relays).open(`${app}/`);
      return page.status === 200;
    }, "all relays to find the agent");

    await t.step("each request of a sign-in may go to another relay", async () => {
      for (const path of ["/a", "/b%2F?c=1", "/d"]) {
        const page = await browser.open(app + path);
        assert.equal(page.status, 200, page.text);
        assert.equal(page.url, app + path);
        // The agent is at one relay: this has come through another to it.
        assert.doesNotMatch(page.text, /culvert-dev|^cookie:/im);
      }
    });

    await t.step("a code that one relay has taken is refused by the others", async () => {
      const other = balanced(relays);
      const seen: string[] = [];
      const send = other.send.bind(other);
      other.send = (url, options) => {
        if (url.startsWith(`${app}/.culvert/callback`)) seen.push(url);
        return send(url, options);
      };
      const before = new Map(other.jar("app.localhost"));
      assert.equal((await other.open(`${app}/x`)).status, 200);
      for (const index of relays.ports.keys()) {
        const thief = at(relays, index, other);
        thief.jars.set("app.localhost", new Map(before));
        const answer = await thief.send(seen[0]!, { headers: navigation });
        assert.equal(answer.status, 400);
        assert.equal(answer.headers["set-cookie"], undefined);
      }
    });

    await t.step("a program's tokens count at every relay, once each, and end at all", async () => {
      const request = { origin: app, hosts: ["app.localhost"], program: "access", machine: "m" };
      const redirectUri = "http://127.0.0.1:1/callback";
      const authorization = await beginAuthorization(request, redirectUri);
      const asked = await browser.open(authorization.url);
      const callback = await browser.open(nextOf(await consent(browser, asked)));
      const target = nextOf(callback).slice("http://127.0.0.1:1".length);
      const answer = readCallback(target, authorization);
      assert.ok(answer.kind === "code", answer.kind);
      const post = async (relay: number, path: string, form: Record<string, string>) =>
        await at(relays, relay, new SocketBrowser()).send(`${app}/.culvert/${path}`, {
          method: "POST",
          headers: { "Content-Type": "application/x-www-form-urlencoded" },
          body: new URLSearchParams(form).toString(),
        });
      const grant = {
        ...{ grant_type: "authorization_code", code: answer.code, redirect_uri: redirectUri },
        code_verifier: authorization.verifier,
      };
      const granted = await post(1, "token", grant);
      assert.equal(granted.status, 200, granted.text);
      assert.equal((await post(2, "token", grant)).status, 400);
      // A request that is under way while its session ends is broken off.
      const statusAt = async (relay: number, token: string) => {
        const answer = at(relays, relay, new SocketBrowser()).send(`${app}/program`, {
          headers: { Authorization: `Bearer ${token}` },
        });
        return (await answer.catch(() => ({ status: 0 }))).status;
      };
      const tokens = JSON.parse(granted.text);
      for (const index of relays.ports.keys()) {
        assert.equal(await statusAt(index, tokens.access_token), 200);
      }
      const refresh = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
      const renewed = JSON.parse((await post(0, "token", refresh)).text);
      assert.equal((await post(0, "revoke", { token: renewed.refresh_token })).status, 200);
      for (const index of relays.ports.keys()) {
        await eventually(
          async () => await statusAt(index, renewed.access_token) === 401,
          "the end of the program's session",
        );
      }
      // The browser's session is another.
      assert.equal((await browser.send(`${app}/still`, { headers: script })).status, 200);
    });

    const sessionOf = async (relay: number, path: string) => {
      const line = (await relays.audited(relay)).find((line) => line["path"] === path);
      return line?.["session"];
    };

    await t.step(
      "the audit log of each relay names person, provider, rule and session",
      async () => {
        const sessions = new Set<unknown>();
        for (const index of relays.ports.keys()) {
          const path = `/audited-${index}`;
          assert.equal((await at(relays, index, browser).send(`${app}${path}`)).status, 200);
          await eventually(
            async () => await sessionOf(index, path) !== undefined,
            "the audit line",
          );
          const lines = (await relays.audited(index)).filter((line) => line["path"] === path);
          for (const line of lines) {
            assert.equal(line["caller"], "ann@example.com");
            assert.equal(line["provider"], "corp");
            assert.equal(line["rules"], "a verified e-mail address at example.com");
            sessions.add(line["session"]);
          }
          const logged = await relays.relays[index]!.waitForLog((line) =>
            line.message === "Request" && line["path"] === path && line["session"] !== undefined
          );
          assert.equal(logged["session"], await sessionOf(index, path));
          assert.equal(logged["rules"], "a verified e-mail address at example.com");
        }
        assert.equal(sessions.size, 1);
      },
    );

    await t.step("the relay to which the browser came back audits the sign-in", async () => {
      const all = (await Promise.all(relays.ports.map((_, index) => relays.audited(index)))).flat();
      const signIns = all.filter(({ event, program }) => event === "sign_in" && !program);
      assert.ok(signIns.length >= 2);
      for (const line of signIns) {
        assert.deepEqual(
          ["caller", "caller_kind", "provider", "address", "decision"].map((name) => line[name]),
          ["ann@example.com", "session", "corp", "127.0.0.1", "allowed"],
        );
        assert.ok(line["session"]);
      }
    });

    await t.step(
      "signing out at one relay ends WebSockets at the others, and no one else's",
      async () => {
        relays.provider.account = bob;
        const other = balanced(relays);
        assert.equal((await other.open(`${app}/`)).status, 200);
        relays.provider.account = ann;
        const theirs = await Promise.all(
          relays.ports.map((_, index) => openSocket(relays, index, browser)),
        );
        const bobs = await openSocket(relays, 1, other);
        const out = await at(relays, 0, browser).send(`${app}/.culvert/logout`, {
          method: "POST",
          headers: { Origin: app },
        });
        assert.equal(out.status, 303);
        await eventually(async () => {
          const lines = await relays.audited(0);
          return lines.some(({ event, caller }) =>
            event === "sign_out" && caller === "ann@example.com"
          );
        }, "the audit line");
        for (const { closed } of theirs) await within(closed, "the end of a WebSocket");
        for (const index of relays.ports.keys()) {
          const answer = await at(relays, index, browser).send(`${app}/x`, { headers: script });
          assert.equal(answer.status, 401);
        }
        assert.equal((await at(relays, 1, other).send(`${app}/x`)).status, 200);
        await bobs.write("still here");
        assert.ok(!bobs.isClosed);
        bobs.destroy();
      },
    );

    await t.step(
      "a back-channel logout at one relay ends WebSockets at the others, once",
      async () => {
        assert.equal((await browser.open(`${app}/`)).status, 200);
        const theirs = await openSocket(relays, 2, browser);
        const token = await relays.provider.logoutToken();
        const post = (relay: number) =>
          at(relays, relay, new SocketBrowser()).send(`${login}/.culvert/backchannel-logout`, {
            method: "POST",
            headers: { "Content-Type": "application/x-www-form-urlencoded" },
            body: new URLSearchParams({ logout_token: token }).toString(),
          });
        assert.equal((await post(1)).status, 200);
        await within(theirs.closed, "the end of the WebSocket");
        const again = await post(0);
        assert.equal(again.status, 400, again.text);
      },
    );

    await t.step(
      "without its store, sign-in says so; with an empty one, people sign in again",
      async () => {
        // ID tokens of the second of the logout would count as from before it.
        await eventually(async () => (await browser.open(`${app}/`)).status === 200, "a sign-in");
        await relays.redis.stop();
        for (const relay of relays.relays) {
          await relay.waitForLog(({ message }) =>
            message === "The store of people's sessions is unavailable"
          );
        }
        const page = await balanced(relays).open(`${app}/`);
        assert.equal(page.status, 503);
        assert.match(page.text, /Something went wrong|unavailable/);
        await relays.redis.start();
        for (const relay of relays.relays) {
          await relay.waitForLog(({ message }) =>
            message === "The store of people's sessions is available again"
          );
        }
        await eventually(
          async () => (await balanced(relays).open(`${app}/`)).status === 200,
          "a sign-in with the new store",
        );
      },
    );
  },
});
