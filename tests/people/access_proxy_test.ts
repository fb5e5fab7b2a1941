/** Services behind an access proxy's JWTs and policies, with the real programs. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createLocalJWKSet, jwtVerify, SignJWT } from "jose";
import { Issuer, type IssuerKey, makeKey } from "../callers/issuer.ts";
import { get, startWebRelay, textOf, token, type WebRelay } from "../services/setup.ts";
import { within } from "../support/deadline.ts";
import { type RunningAgent, runProgram, startAgent } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { answering, type RawTarget, startRawTarget } from "../support/target.ts";

const team = "https://team.example.com";
const header = "Cf-Access-Jwt-Assertion";

/** Answers with the head that it got, or holds its answer open. */
const mirror = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  if (head.startsWith("GET /hold ")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  return `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
});

interface FileOptions {
  readonly target: string;
  readonly jwksUrl: string;
  readonly rules?: readonly unknown[];
  readonly service?: object;
}

function servicesFile({ target, jwksUrl, rules, service }: FileOptions): string {
  return JSON.stringify({
    providers: [{ name: "access", kind: "jwt-header", header, issuer: team, jwksUrl }],
    policies: [{
      name: "platform",
      any: rules ?? [
        { claim: "groups", value: "platform" },
        { emailDomain: "example.com" },
        { claim: "common_name", value: "robot.access" },
        { token: "ci" },
      ],
    }],
    services: [{
      name: "dash",
      hostnames: ["dash.test"],
      cluster: "dev",
      target,
      provider: "access",
      audience: "32eafc",
      policy: "platform",
      identity: { assertion: true, headers: { "X-Who": "username", "X-Groups": "groups" } },
      ...service,
    }, { name: "open", hostnames: ["open.test"], cluster: "dev", target, policy: "public" }],
  });
}

/** A relay behind an access proxy, its agent and a target. */
class Site implements AsyncDisposable {
  readonly key: IssuerKey;
  readonly issuer: Issuer;
  readonly web: WebRelay;
  readonly agent: RunningAgent;
  readonly target: RawTarget;
  readonly path: string;

  private constructor(site: Pick<Site, "key" | "issuer" | "web" | "agent" | "target" | "path">) {
    ({ key: this.key, issuer: this.issuer, web: this.web } = site);
    ({ agent: this.agent, target: this.target, path: this.path } = site);
  }

  static async open(options: Partial<FileOptions> = {}): Promise<Site> {
    const key = await makeKey("one");
    const issuer = new Issuer([key]);
    const target = await startRawTarget(mirror);
    const path = await Deno.makeTempFile({ suffix: ".json" });
    const file = servicesFile({ target: target.address, jwksUrl: issuer.url, ...options });
    await Deno.writeTextFile(path, file);
    const tokens = [{ name: "ci", token: "token-of-the-ci-job", clusters: ["none"] }];
    const web = await startWebRelay(path, {
      cluster: { targetAddr: target.address },
      args: ["-caller-tokens", JSON.stringify(tokens)],
    });
    const { relay } = web;
    const agent = await startAgent({ relayUrl: relay.connectUrl, token, target: target.address });
    return new Site({ key, issuer, web, agent, target, path });
  }

  async use(options: Partial<FileOptions>): Promise<void> {
    const { target: { address: target }, issuer: { url: jwksUrl } } = this;
    await Deno.writeTextFile(this.path, servicesFile({ target, jwksUrl, ...options }));
  }

  sign(claims: Record<string, unknown>, aud = "32eafc"): Promise<string> {
    return new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "one" })
      .setIssuer(team).setAudience(aud).setExpirationTime("5m").sign(this.key.privateKey);
  }

  /** The answer for a JWT. */
  async ask(jwt: string | undefined, lines: readonly string[] = [], host = "dash.test") {
    const own = jwt === undefined ? [] : [`${header}: ${jwt}`];
    return await get(this.web.webAddress, host, "/", [...own, ...lines]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.web.relay[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.issuer[Symbol.asyncDispose]();
  }
}

const ann = { sub: "7335", email: "ann@example.com", groups: ["platform", "secret-project"] };

function valuesOf(text: string, name: string): string[] {
  const lines = text.split("\r\n").filter((line) => line.toLowerCase().startsWith(`${name}: `));
  return lines.map((line) => line.slice(name.length + 2));
}

Deno.test("behind an access proxy, a service is open to whom its policy names", async (t) => {
  await using site = await Site.open();
  await t.step("a person comes in, and the application is told who it is", async () => {
    const jwt = await site.sign(ann);
    const lies = ["X-Who: root", "X_Who: root", "X-Groups: admin", "Culvert-Identity: a.b.c"];
    const answer = await site.ask(jwt, lies);
    equal(statusOf(answer), 200, textOf(answer));
    const text = textOf(answer);
    deepEqual(valuesOf(text, "x-who"), ["ann@example.com"]);
    deepEqual(valuesOf(text, "x-groups"), ["platform"]);
    ok(!/X_Who|root|admin/.test(text));
    ok(!text.includes(jwt), "the provider's JWT reaches no target");
    const [assertion] = valuesOf(text, "culvert-identity");
    const published = await get(site.web.webAddress, "dash.test", "/.culvert/jwks.json");
    const keys = createLocalJWKSet(JSON.parse(textOf(published)));
    const { payload } = await jwtVerify(assertion!, keys, {
      issuer: "dash.test",
      audience: "dash.test",
    });
    deepEqual(
      [payload.sub, payload.username, payload.groups],
      ["7335", "ann@example.com", ["platform"]],
    );
  });
  await t.step("a service token comes in by its common name", async () => {
    const answer = await site.ask(await site.sign({ sub: "", common_name: "robot.access" }));
    deepEqual(valuesOf(textOf(answer), "x-who"), ["robot.access"]);
  });
  await t.step("a caller's token comes in, and is no person", async () => {
    const answer = await site.ask(undefined, ["Authorization: Bearer token-of-the-ci-job"]);
    deepEqual(valuesOf(textOf(answer), "x-who"), ["token:ci"]);
    ok(!/authorization/i.test(textOf(answer)));
  });
  await t.step("who shows nothing, or what does not count, gets 401; others get 403", async () => {
    const good = await site.sign(ann);
    const cases: [string, string | undefined, string[], number][] = [
      ["nothing", undefined, [], 401],
      ["the cookie alone", undefined, [`Cookie: CF_Authorization=${good}`], 401],
      ["twice", good, [`${header}: ${good}`], 401],
      ["another application's", await site.sign(ann, "other"), [], 401],
      ["no rule is met", await site.sign({ sub: "1", email: "a@evil.com" }), [], 403],
      ["a suffix", await site.sign({ sub: "1", email: "a@evil.com@example.com" }), [], 403],
    ];
    for (const [what, jwt, lines, status] of cases) {
      const answer = await site.ask(jwt, lines);
      equal(statusOf(answer), status, what);
      ok(!textOf(answer).startsWith("GET"), what);
    }
  });
  await t.step("a page of a sibling host sends nothing in the person's name", async () => {
    const jwt = await site.sign(ann);
    const cases: [string[], number][] = [
      [["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"], 403],
      [["Origin: https://other.test"], 403],
      [["Upgrade: websocket", "Connection: Upgrade"], 403],
      [["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 200],
      [["Sec-Fetch-Site: same-origin"], 200],
    ];
    for (const [lines, status] of cases) {
      equal(statusOf(await site.ask(jwt, lines)), status, lines[0]!);
    }
  });
  await t.step("a public service is told about nobody, and gets no provider's JWT", async () => {
    const jwt = await site.sign(ann);
    const text = textOf(await site.ask(jwt, ["Culvert-Identity: a.b.c"], "open.test"));
    match(text, /^GET/);
    ok(!text.includes(jwt) && !/culvert-identity/i.test(text));
  });
  await t.step("the log tells who was refused, and which rules were not met", async () => {
    const line = await site.web.relay.waitForLog(({ reason }) => reason === "policy");
    equal(line.caller, "a@evil.com");
    match(String(line.detail), /groups not told/);
  });
  await t.step("no token is in the log", async () => {
    ok(!JSON.stringify(await site.web.relay.completeLog()).includes("eyJ"));
  });
});

Deno.test("what a person has begun ends when the policy is narrowed, and others' stays", async () => {
  await using site = await Site.open();
  const hold = async (claims: Record<string, unknown>) => {
    const connection = await openConnection(site.web.webAddress);
    const jwt = await site.sign(claims);
    const lines = ["GET /hold HTTP/1.1", "Host: dash.test", `${header}: ${jwt}`, "", ""];
    await connection.write(lines.join("\r\n"));
    equal(statusOf(await within(readHead(connection.reader), "the head")), 200);
    return connection;
  };
  await using anns = await hold(ann);
  await using bobs = await hold({ sub: "2", email: "bob@example.com" });
  await site.use({ rules: [{ claim: "groups", value: "platform" }] });
  const line = await site.web.relay.waitForLog(({ message }) =>
    String(message).startsWith("Breaking off a request")
  );
  equal(line.caller, "bob@example.com");
  await within(bobs.closed, "the end of the other's request");
  equal(statusOf(await site.ask(await site.sign(ann))), 200);
  ok(!anns.isClosed);
  await site.use({ rules: [] });
  await site.web.relay.waitForLog((line) => /at least one rule/.test(JSON.stringify(line)), {
    what: "the refusal of a policy without rules",
  });
  ok(!anns.isClosed, "the file before stays in use");
});

Deno.test("without its audience, a service of an access proxy does not start", async () => {
  const file = servicesFile({
    target: "app:80",
    jwksUrl: "https://team.example.com/certs",
    service: { audience: undefined },
  });
  const result = await runProgram("relay.ts", [
    "-clusters",
    "[]",
    "-callers",
    "open",
    "-services",
    file,
  ]);
  equal(result.code, 2);
  match(result.stdout + result.stderr, /service "dash": needs audience/);
});
