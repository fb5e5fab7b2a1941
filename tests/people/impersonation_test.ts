/** Callers who stand for users of a cluster, with the real programs and a stand-in for its API server. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { exportPKCS8, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { Issuer, type IssuerKey, makeKey } from "../callers/issuer.ts";
import { eventually, within } from "../support/deadline.ts";
import {
  type RunningAgent,
  type RunningRelay,
  runProgram,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { type RawMessage, readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { answering, type RawTarget, startRawTarget } from "../support/target.ts";

const token = "impersonation-token-0123456789";
const issuerName = "https://issuer.example";

/** Answers with the head that it got. */
const apiServer = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  if (head.startsWith("GET /hold ")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  return `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
});

const callerTokens = [
  { name: "ci", token: "token-of-the-ci-job", clusters: ["*"] },
  { name: "other", token: "token-of-another-job", clusters: ["*"] },
];

const cluster = {
  ...{ id: "dev", token },
  callerPolicy: "known",
  impersonate: {
    prefix: "corp:",
    groups: { platform: ["ops", "viewers"] },
    callers: { "token:ci": { groups: ["deployers"] } },
  },
};

const services = {
  policies: [{
    name: "known",
    any: [{ claim: "groups", value: "platform" }, { token: "ci" }, { token: "other" }],
  }],
  services: [],
};

interface SetupOptions {
  /** What of `impersonate` in the agent's file is otherwise; false for none of it. */
  readonly impersonate?: object | false;
  readonly cluster?: object;
}

class Setup implements AsyncDisposable {
  readonly folder: string;
  readonly key: IssuerKey;
  readonly issuer: Issuer;
  readonly target: RawTarget;
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;

  private constructor(setup: Omit<Setup, "ask" | "sign" | "bearer" | typeof Symbol.asyncDispose>) {
    ({ folder: this.folder, key: this.key, issuer: this.issuer } = setup);
    ({ target: this.target, relay: this.relay, agent: this.agent } = setup);
  }

  static async open(options: SetupOptions = {}): Promise<Setup> {
    const folder = await Deno.makeTempDir();
    const pair = await generateKeyPair("ES256", { extractable: true });
    await Deno.writeTextFile(`${folder}/private.pem`, await exportPKCS8(pair.privateKey));
    await Deno.writeTextFile(`${folder}/public.pem`, await exportSPKI(pair.publicKey));
    await Deno.writeTextFile(`${folder}/services.json`, JSON.stringify(services));
    const key = await makeKey("one");
    const issuer = new Issuer([key]);
    const target = await startRawTarget(apiServer);
    const rules = [{ claim: "sub", value: "*", clusters: ["*"] }];
    const entry = { ...cluster, targetAddr: target.address, ...options.cluster };
    await Deno.writeTextFile(`${folder}/clusters.json`, JSON.stringify([entry]));
    const relay = await startRelay({
      clusters: [],
      args: [
        ...["-clusters", `${folder}/clusters.json`],
        ...["-services", `${folder}/services.json`],
        ...["-assertion-keys", `${folder}/private.pem`],
        ...["-caller-tokens", JSON.stringify(callerTokens)],
        ...["-caller-jwt-issuer", issuerName, "-caller-jwt-audience", "relay"],
        ...["-caller-jwks-url", issuer.url, "-caller-jwt-rules", JSON.stringify(rules)],
      ],
    });
    const demands = {
      ...{ proof: "assertion", issuer: "culvert", audience: ["/tunnel/dev"] },
      ...{ keysFile: `${folder}/public.pem`, prefix: "corp:" },
      groups: ["ops", "viewers", "deployers"],
    };
    const targets = [{
      ...{ name: "api", address: target.address },
      ...options.impersonate === false
        ? {}
        : { impersonate: { ...demands, ...options.impersonate } },
    }];
    await Deno.writeTextFile(`${folder}/targets.json`, JSON.stringify({ targets }));
    const agent = await startAgent({
      ...{ relayUrl: relay.connectUrl, token },
      args: ["-targets", `${folder}/targets.json`],
    });
    return new Setup({ folder, key, issuer, target, relay, agent });
  }

  async ask(lines: readonly string[], path = "/api/v1/pods"): Promise<RawMessage> {
    await using connection = await openConnection(this.relay.internalAddress);
    const head = [`GET /tunnel/dev${path} HTTP/1.1`, "Host: relay", ...lines, "", ""];
    await connection.write(head.join("\r\n"));
    return await within(readResponse(connection.reader), "the answer");
  }

  async bearer(claims: Record<string, unknown>): Promise<string> {
    const jwt = new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "one" })
      .setIssuer(issuerName).setAudience("relay").setExpirationTime("5m");
    return `Authorization: Bearer ${await jwt.sign(this.key.privateKey)}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.relay[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.issuer[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

function textOf({ body }: RawMessage): string {
  return new TextDecoder().decode(body);
}

function impersonationOf(answer: RawMessage): string[] {
  return textOf(answer).split("\r\n").filter((line) => /^impersonate/i.test(line));
}

const ann = { sub: "ann@example.com", groups: ["platform", "secret"] };

Deno.test("callers of a cluster stand for the users and groups of its entry, and nobody else", async (t) => {
  await using setup = await Setup.open({ cluster: { targetAddr: "api" } });
  const bearer = await setup.bearer(ann);
  await t.step("a person, by the claims of a JWT", async () => {
    const answer = await setup.ask([bearer]);
    equal(statusOf(answer), 200, textOf(answer));
    deepEqual(impersonationOf(answer).slice(0, 3), [
      "Impersonate-User: corp:ann@example.com",
      "Impersonate-Group: ops",
      "Impersonate-Group: viewers",
    ]);
    ok(!/^(?:culvert-|authorization)/im.test(textOf(answer)), textOf(answer));
  });
  await t.step("a program, by its token", async () => {
    const answer = await setup.ask(["Authorization: Bearer token-of-the-ci-job"]);
    deepEqual(impersonationOf(answer), [
      "Impersonate-User: corp:token:ci",
      "Impersonate-Group: deployers",
    ]);
  });
  await t.step("a program that the entry does not map is refused", async () => {
    const answer = await setup.ask(["Authorization: Bearer token-of-another-job"]);
    equal(statusOf(answer), 403);
    match(textOf(answer), /impersonation_refused/);
  });
  await t.step("--as-group chooses among the groups of the map, and no others", async () => {
    const as = ["Impersonate-User: ann@example.com", "Impersonate-Group: viewers"];
    deepEqual(impersonationOf(await setup.ask([bearer, ...as])).slice(0, 2), [
      "Impersonate-User: corp:ann@example.com",
      "Impersonate-Group: viewers",
    ]);
    for (const other of ["Impersonate-Group: system:masters", "Impersonate-Uid: 1"]) {
      const answer = await setup.ask([bearer, as[0]!, other]);
      equal(statusOf(answer), 403);
      match(textOf(answer), /is forbidden: User \\"corp:ann@example.com\\" cannot impersonate/);
    }
  });
  await t.step("who does not meet callerPolicy is refused", async () => {
    const answer = await setup.ask([await setup.bearer({ sub: "bob", groups: ["guests"] })]);
    equal(statusOf(answer), 403);
    match(textOf(answer), /policy_denied/);
  });
  await t.step("an agent sends nothing on that proves nobody", async () => {
    const forged = ["Culvert-Identity: a.b.c", "Impersonate-User: root"];
    equal(statusOf(await setup.ask([...forged, "Authorization: Bearer wrong-token-123"])), 401);
  });
  await t.step("what a caller has begun ends when callerPolicy no longer lets it", async () => {
    await using connection = await openConnection(setup.relay.internalAddress);
    const lines = ["GET /tunnel/dev/hold HTTP/1.1", "Host: relay", bearer, "", ""];
    await connection.write(lines.join("\r\n"));
    equal(statusOf(await within(readHead(connection.reader), "the head")), 200);
    const narrowed = { policies: [{ name: "known", any: [{ token: "ci" }] }], services: [] };
    await Deno.writeTextFile(`${setup.folder}/services.json`, JSON.stringify(narrowed));
    await within(connection.closed, "the end of the request");
    await setup.relay.waitForLog(({ code }) => code === "caller_revoked");
  });
});

Deno.test("what a caller has begun ends when the entry lets it stand for somebody else, or for nobody", async () => {
  const changed = {
    "another group": { groups: { platform: ["viewers"] } },
    "another user": { users: { "ann@example.com": "corp:admin" } },
    "nobody": undefined,
  };
  for (const [what, change] of Object.entries(changed)) {
    await using setup = await Setup.open({ cluster: { targetAddr: "api" } });
    const bearer = await setup.bearer(ann);
    await using connection = await openConnection(setup.relay.internalAddress);
    await connection.write(
      ["GET /tunnel/dev/hold HTTP/1.1", "Host: relay", bearer, "", ""].join("\r\n"),
    );
    equal(statusOf(await within(readHead(connection.reader), "the head")), 200);
    await using other = await openConnection(setup.relay.internalAddress);
    const ci = "Authorization: Bearer token-of-the-ci-job";
    await other.write(["GET /tunnel/dev/hold HTTP/1.1", "Host: relay", ci, "", ""].join("\r\n"));
    equal(statusOf(await within(readHead(other.reader), "the head")), 200);
    const impersonate = change && { ...cluster.impersonate, ...change };
    const entry = { ...cluster, targetAddr: "api", impersonate };
    await Deno.writeTextFile(`${setup.folder}/clusters.json`, JSON.stringify([entry]));
    await within(connection.closed, `the end of the request: ${what}`);
    // Whoever stands for the same as before goes on.
    if (change) equal(other.isClosed, false, what);
  }
});

Deno.test("what was begun with the agent's own rights ends when the entry has callers stand for users", async () => {
  await using setup = await Setup.open({
    impersonate: false,
    cluster: { targetAddr: "api", impersonate: undefined },
  });
  const bearer = await setup.bearer(ann);
  await using connection = await openConnection(setup.relay.internalAddress);
  await connection.write(
    ["GET /tunnel/dev/hold HTTP/1.1", "Host: relay", bearer, "", ""].join("\r\n"),
  );
  equal(statusOf(await within(readHead(connection.reader), "the head")), 200);
  const entry = { ...cluster, targetAddr: "api" };
  await Deno.writeTextFile(`${setup.folder}/clusters.json`, JSON.stringify([entry]));
  await within(connection.closed, "the end of the request");
});

Deno.test("other assertion keys sign and are published once their file changes, and broken ones never", async () => {
  await using setup = await Setup.open({ cluster: { targetAddr: "api" } });
  const bearer = await setup.bearer(ann);
  equal(statusOf(await setup.ask([bearer])), 200);
  const next = await generateKeyPair("ES256", { extractable: true });
  await Deno.writeTextFile(`${setup.folder}/private.pem`, await exportPKCS8(next.privateKey));
  await setup.relay.waitForLog(({ message, source }) =>
    message === "Configuration reloaded" && source === "assertion_keys"
  );
  // The agent knows the old key alone.
  equal(statusOf(await setup.ask([bearer])), 503);
  await Deno.writeTextFile(`${setup.folder}/public.pem`, await exportSPKI(next.publicKey));
  await eventually(
    async () => statusOf(await setup.ask([bearer])) === 200,
    "the agent to take the other key",
    60_000,
  );
  await Deno.writeTextFile(`${setup.folder}/private.pem`, "no key");
  const refused = await setup.relay.waitForLog(({ message }) =>
    message === "Refused a changed configuration; the previous one stays in use"
  );
  match(String(refused.reason), /must hold private EC keys/);
  equal(statusOf(await setup.ask([bearer])), 200);
});

Deno.test("an agent that does not impersonate gets no request of somebody who stands for a user", async () => {
  await using setup = await Setup.open({ impersonate: false, cluster: { targetAddr: "api" } });
  const answer = await setup.ask([await setup.bearer(ann)]);
  equal(statusOf(answer), 502);
  match(textOf(answer), /agent_cannot_impersonate/);
  equal(setup.target.connections.length, 0);
});

Deno.test("an agent refuses what goes beyond its own file, whatever the relay says", async () => {
  for (const impersonate of [{ groups: ["ops"] }, { prefix: "other:" }, { audience: ["x"] }]) {
    await using setup = await Setup.open({ impersonate, cluster: { targetAddr: "api" } });
    const answer = await setup.ask([await setup.bearer(ann)]);
    equal(statusOf(answer), 503, JSON.stringify(impersonate));
    equal(setup.target.connections.length, 0);
    const line = await setup.agent.waitForLog(({ message }) => message === "Request failed");
    equal(line.code, "credentials");
    ok(!JSON.stringify(await setup.agent.completeLog()).includes("eyJ"));
  }
});

Deno.test("a target that impersonates gets no request of a cluster whose entry maps nobody", async () => {
  await using setup = await Setup.open({
    cluster: { targetAddr: "api", impersonate: undefined },
  });
  const answer = await setup.ask([await setup.bearer(ann)]);
  equal(statusOf(answer), 503);
  equal(setup.target.connections.length, 0);
});

for (
  const [what, text, fault] of [
    ["no PEM", "hello", /must hold private EC keys on the curve P-256/],
    [
      "a public key",
      "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----",
      /must hold private/,
    ],
    [
      "a broken key",
      "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----",
      /key 1 must hold/,
    ],
  ] as const
) {
  Deno.test(`--assertion-keys with ${what} is refused at start`, async () => {
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, text);
    const args = ["-clusters", "[]", "-callers", "open", "-assertion-keys", path];
    const { code, stdout, stderr } = await runProgram("relay.ts", args);
    equal(code, 2);
    match(stdout + stderr, fault);
    await Deno.remove(path);
  });
}
