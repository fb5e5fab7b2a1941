import assert from "node:assert/strict";
import { freshMs, SignIn } from "../../lib/relay/signin/sign_in.ts";
import type { SessionRecord } from "../../lib/relay/signin/sessions/sessions.ts";
import { World } from "./world.ts";

async function recordOf(keepsProof: boolean, lifetimeMs: number): Promise<SessionRecord> {
  const world = await World.create();
  const nowMs = 1_800_000_000_000;
  const clock = { nowMs: () => nowMs, monotonicMs: () => 0 };
  const provider = world.signIn.provider("corp")!;
  const signIn = new SignIn(
    { loginOrigin: "https://login.example.com", sessionMs: 12 * 3_600_000 },
    [provider.config],
    { ...world.signIn.context, clock, keepsProof: () => keepsProof },
  );
  const record = await signIn.begin(signIn.provider("corp")!, {
    subject: "ann-1",
    claims: { sub: "ann-1", email: "ann@example.com", email_verified: true },
    tokenClaims: ["sub"],
    refreshToken: "refresh",
    providerSession: undefined,
    issuedMs: nowMs,
    skewSeconds: 0,
    proof: { jwt: "a.b.c", expiresMs: nowMs + lifetimeMs },
  }, undefined);
  assert.ok("id" in record, JSON.stringify(record));
  return { ...record, freshUntilMs: record.freshUntilMs - nowMs };
}

Deno.test("an ID token is kept only where agents may ask for it", async () => {
  assert.equal((await recordOf(false, 300_000)).proof, undefined);
  assert.equal((await recordOf(true, 300_000)).proof?.jwt, "a.b.c");
});

Deno.test("a session whose ID token agents verify is refreshed before that expires", async () => {
  assert.equal((await recordOf(false, 300_000)).freshUntilMs, freshMs);
  assert.equal((await recordOf(true, 3_600_000)).freshUntilMs, freshMs);
  const { freshUntilMs } = await recordOf(true, 300_000);
  assert.ok(freshUntilMs < 300_000 && freshUntilMs >= 30_000, String(freshUntilMs));
  // One that lasts for seconds only has nobody ask the provider with every request.
  assert.equal((await recordOf(true, 5_000)).freshUntilMs, 30_000);
});
