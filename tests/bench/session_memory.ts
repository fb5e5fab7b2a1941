/** What people's sessions take of memory, in a process of their own. */
import { MemorySessions } from "../../lib/relay/signin/sessions/memory_sessions.ts";
import type { SessionRecord } from "../../lib/relay/signin/sessions/sessions.ts";
import { OpenedSeals } from "../../lib/relay/signin/opened_seals.ts";
import { SessionKeys } from "../../lib/relay/signin/seals.ts";
import { outputOf } from "./subprocess.ts";

/** What is made. */
export interface SessionLoad {
  readonly sessions: number;
  /** Of each person. */
  readonly groups: number;
}

/** Bytes of the heap that one session takes: its record, its indexes, and its cookie as it was opened. */
export async function measureSessionBytes(load: SessionLoad, signal: AbortSignal): Promise<number> {
  const script = new URL(import.meta.url).pathname;
  const args = ["run", "-A", "--v8-flags=--expose-gc", script, JSON.stringify(load)];
  return Number(await outputOf([Deno.execPath(), ...args], signal));
}

/** As it comes from a provider: no text of it is shared with another session's. */
function recordOf(number: number, groups: number, nowMs: number): SessionRecord {
  const user = `person-${number}@example.com`;
  const claims = {
    ...{
      iss: "https://id.example.com/realms/corp",
      sub: crypto.randomUUID(),
      sid: crypto.randomUUID(),
    },
    ...{ email: user, email_verified: true, name: `Person ${number}`, preferred_username: user },
    groups: Array.from({ length: groups }, () => crypto.randomUUID()),
  };
  const record: SessionRecord = {
    id: crypto.getRandomValues(new Uint8Array(18)).toBase64(),
    ...{ provider: "corp", issuer: claims.iss, subject: claims.sub, username: user, claims },
    tokenClaims: Object.keys(claims),
    refreshToken: crypto.getRandomValues(new Uint8Array(500)).toBase64(),
    providerSession: claims.sid,
    ...{ issuedMs: nowMs, signedInMs: nowMs, expiresMs: nowMs + 43_200_000 },
    freshUntilMs: nowMs + 600_000,
  };
  return JSON.parse(JSON.stringify(record));
}

function heapBytes(): number {
  (globalThis as unknown as { gc(): void }).gc();
  return Deno.memoryUsage().heapUsed;
}

async function main({ sessions: count, groups }: SessionLoad): Promise<void> {
  const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
  const sessions = new MemorySessions({
    nowMs: clock.nowMs,
    ...{ idleMs: 3_600_000, relay: "relay", changed() {} },
  });
  const keys = await SessionKeys.from([new Uint8Array(32)], clock);
  const opened = new OpenedSeals({ keys, clock });
  const host = "app.example.com";
  const add = async (number: number): Promise<void> => {
    const record = recordOf(number, groups, clock.nowMs());
    await sessions.put(record);
    sessions.seen(record.id, clock.nowMs(), host);
    const claims = { sid: record.id, prv: record.provider };
    await opened.open("session", host, await keys.seal("session", host, claims, 43_200_000));
  };
  // What the first ones bring about once is none of the others' cost.
  for (let number = 0; number < 100; number++) await add(number);
  const before = heapBytes();
  for (let number = 0; number < count; number++) await add(100 + number);
  const after = heapBytes();
  console.log((after - before) / count);
  if (sessions.size !== count + 100) throw new Error(`${sessions.size} sessions were kept`);
}

if (import.meta.main) await main(JSON.parse(Deno.args[0]!));
