import assert from "node:assert/strict";
import type { ClusterEntry } from "../../../lib/domain/cluster.ts";
import {
  Admission,
  Admissions,
  maxSessionsPerCluster,
} from "../../../lib/relay/agents/admissions.ts";
import { digestToken } from "../../../lib/relay/digests.ts";
import { TokenTable } from "../../../lib/relay/agents/tokens.ts";

function cluster(id: string, changes: Partial<ClusterEntry> = {}): ClusterEntry {
  return {
    id,
    tokens: [{ name: "default", token: `token of ${id}` }],
    targetAddr: `${id}:443`,
    impersonation: "strip",
    ...changes,
  };
}

/** Admissions with a clock that the test sets. */
class Setup implements Disposable {
  nowMs = 1_000_000;
  /** When certificates end. */
  certificateMs = Infinity;
  readonly admissions: Admissions;
  /** Why each agent was put out, in order. */
  readonly ended: string[] = [];
  /** Tokens of those that were told that their certificate ends soon, in order. */
  readonly reminded: string[] = [];
  readonly #admitted: Admission[] = [];

  private constructor(table: TokenTable) {
    this.admissions = new Admissions(table, () => this.nowMs);
  }

  static async of(...clusters: ClusterEntry[]): Promise<Setup> {
    return new Setup(await TokenTable.from(clusters));
  }

  /** @returns the admission, or the kind of refusal. */
  async admit(token: string, ...names: string[]): Promise<Admission | string> {
    const certificate = names.length > 0 ? { names, expiresMs: this.certificateMs } : undefined;
    const digest = await digestToken(token);
    const result = this.admissions.admit({ digest, certificate });
    if (!(result instanceof Admission)) return result.kind;
    result.whenRevoked((reason) => this.ended.push(`${token}: ${reason}`));
    result.whenToRenew(() => this.reminded.push(token));
    this.#admitted.push(result);
    return result;
  }

  async replace(...clusters: ClusterEntry[]) {
    return this.admissions.replace(await TokenTable.from(clusters));
  }

  [Symbol.dispose](): void {
    for (const admission of this.#admitted) this.admissions.leave(admission);
    this.admissions.expire();
  }
}

Deno.test("Admissions.admit lets in a known token, and no other", async () => {
  using setup = await Setup.of(cluster("a"), cluster("b"));
  const admission = await setup.admit("token of b");
  assert.ok(admission instanceof Admission);
  assert.equal(admission.cluster.id, "b");
  assert.equal(admission.tokenName, "default");
  assert.equal(await setup.admit("token of c"), "unknown_token");
});

Deno.test("Admissions.admit refuses a token from its expiry on, whatever the clock did before", async () => {
  using setup = await Setup.of(cluster("a", {
    tokens: [{ name: "old", token: "old", expiresMs: 1_000_500 }, { name: "new", token: "new" }],
  }));
  assert.ok(await setup.admit("old") instanceof Admission);
  setup.nowMs = 1_000_500;
  assert.equal(await setup.admit("old"), "expired");
  assert.ok(await setup.admit("new") instanceof Admission);
  setup.nowMs = 0;
  assert.ok(await setup.admit("old") instanceof Admission);
});

Deno.test("Admissions.admit asks for one of a cluster's certificate names", async () => {
  using setup = await Setup.of(
    cluster("a", { certificateNames: ["a.agent", "spiffe://a"] }),
    cluster("b"),
  );
  assert.ok(await setup.admit("token of a", "other", "spiffe://a") instanceof Admission);
  assert.equal(await setup.admit("token of a"), "certificate");
  assert.equal(await setup.admit("token of a", "A.agent", "a.agent.evil"), "certificate");
  assert.ok(await setup.admit("token of b", "anything") instanceof Admission);
});

Deno.test("Admissions.replace puts out who would not be let in any more, and says why", async () => {
  const bound = (...certificateNames: string[]) => cluster("bound", { certificateNames });
  using setup = await Setup.of(cluster("removed"), cluster("moved"), cluster("kept"), bound("x"));
  await setup.admit("token of removed");
  await setup.admit("token of moved");
  await setup.admit("token of kept");
  await setup.admit("token of bound", "x");
  const changes = await setup.replace(
    cluster("elsewhere", { tokens: [{ name: "default", token: "token of moved" }] }),
    cluster("kept", { targetAddr: "new:443" }),
    bound("y"),
  );
  assert.deepEqual(changes, { clusters: 3, added: 1, removed: 2, changed: 2, sessions_ended: 3 });
  assert.deepEqual(setup.ended, [
    "token of removed: The cluster or its token was removed",
    "token of moved: The cluster or its token was removed",
    "token of bound: The cluster no longer accepts the client certificate",
  ]);
});

Deno.test("Admissions.replace gives those that stay their cluster's new entry", async () => {
  using setup = await Setup.of(cluster("a"));
  const admission = await setup.admit("token of a") as Admission;
  await setup.replace(cluster("a", {
    impersonation: "forward",
    tokens: [{ name: "renamed", token: "token of a" }, { name: "second", token: "second" }],
  }));
  assert.equal(admission.cluster.impersonation, "forward");
  assert.equal(admission.tokenName, "renamed");
  assert.deepEqual(setup.ended, []);
});

Deno.test("Admissions: a token is rotated with no gap", async () => {
  const [old, next] = [{ name: "old", token: "old" }, { name: "new", token: "new" }];
  using setup = await Setup.of(cluster("a", { tokens: [old] }));
  await setup.admit("old");
  await setup.replace(cluster("a", { tokens: [old, next] }));
  await setup.admit("new");
  await setup.admit("old");
  assert.deepEqual(setup.ended, []);
  await setup.replace(cluster("a", { tokens: [next] }));
  const why = "old: The cluster or its token was removed";
  assert.deepEqual(setup.ended, [why, why]);
  assert.equal(await setup.admit("old"), "unknown_token");
});

Deno.test("Admissions.expire puts out those whose token has expired, once", async () => {
  using setup = await Setup.of(
    cluster("a", { tokens: [{ name: "x", token: "short", expiresMs: 1_000_500 }] }),
    cluster("b", { tokens: [{ name: "x", token: "long", expiresMs: 1_002_000 }] }),
    cluster("c"),
  );
  for (const token of ["short", "long", "token of c"]) await setup.admit(token);
  setup.admissions.expire();
  assert.deepEqual(setup.ended, []);
  setup.nowMs = 1_001_000;
  setup.admissions.expire();
  setup.admissions.expire();
  assert.deepEqual(setup.ended, ["short: The token has expired"]);
});

Deno.test("Admissions.replace gives a token that is in use an expiry", async () => {
  using setup = await Setup.of(cluster("a"));
  await setup.admit("token of a");
  const expiring = { name: "default", token: "token of a", expiresMs: 1_000_500 };
  await setup.replace(cluster("a", { tokens: [expiring] }));
  assert.deepEqual(setup.ended, []);
  setup.nowMs = 1_000_500;
  setup.admissions.expire();
  assert.deepEqual(setup.ended, ["token of a: The token has expired"]);
});

Deno.test("Admission.whenRevoked tells of what was decided before", async () => {
  using setup = await Setup.of(cluster("a"));
  const digest = await digestToken("token of a");
  const admission = setup.admissions.admit({ digest, certificate: undefined });
  assert.ok(admission instanceof Admission);
  await setup.replace();
  const reasons: string[] = [];
  admission.whenRevoked((reason) => reasons.push(reason));
  assert.deepEqual(reasons, ["The cluster or its token was removed"]);
});

Deno.test("Admissions forget an agent that has left", async () => {
  using setup = await Setup.of(cluster("a"));
  setup.admissions.leave(await setup.admit("token of a") as Admission);
  assert.equal((await setup.replace()).sessions_ended, 0);
  assert.deepEqual(setup.ended, []);
});

Deno.test("Admissions: one cluster's agents can't take the place of others, and make room again", async () => {
  using setup = await Setup.of(cluster("a"), cluster("b"));
  const first = await setup.admit("token of a");
  assert.ok(first instanceof Admission);
  for (let count = 1; count < maxSessionsPerCluster; count++) await setup.admit("token of a");
  assert.equal(await setup.admit("token of a"), "full");
  assert.ok(await setup.admit("token of b") instanceof Admission);
  setup.admissions.leave(first);
  // Only the first time counts.
  setup.admissions.leave(first);
  assert.ok(await setup.admit("token of a") instanceof Admission);
  assert.equal(await setup.admit("token of a"), "full");
  await setup.replace(cluster("b"));
  await setup.replace(cluster("a"), cluster("b"));
  assert.ok(await setup.admit("token of a") instanceof Admission, "those put out count no more");
});

Deno.test("Admissions.expire puts out whose client certificate has ended, unless the token ends first", async () => {
  const brief = { name: "x", token: "brief", expiresMs: 1_000_500 };
  using setup = await Setup.of(cluster("a"), cluster("b", { tokens: [brief] }));
  setup.certificateMs = 1_001_000;
  await setup.admit("token of a", "agent");
  await setup.admit("token of a");
  await setup.admit("brief", "agent");
  setup.nowMs = 1_000_999;
  setup.admissions.expire();
  assert.deepEqual(setup.ended, ["brief: The token has expired"]);
  setup.nowMs = 1_001_000;
  setup.admissions.expire();
  assert.deepEqual(setup.ended.slice(1), ["token of a: The client certificate has expired"]);
});

Deno.test("Admissions.expire reminds an agent once, five minutes before its certificate ends", async () => {
  using setup = await Setup.of(cluster("a"), cluster("b"), cluster("c"));
  setup.certificateMs = setup.nowMs + 400_000;
  await setup.admit("token of a", "agent");
  setup.certificateMs = setup.nowMs + 300_000;
  await setup.admit("token of b", "agent");
  await setup.admit("token of c");
  setup.nowMs += 99_999;
  setup.admissions.expire();
  assert.deepEqual(setup.reminded, []);
  setup.nowMs++;
  setup.admissions.expire();
  setup.admissions.expire();
  assert.deepEqual(setup.reminded, ["token of a"], "b came with too little time left to be asked");
  assert.deepEqual(setup.ended, []);
});
