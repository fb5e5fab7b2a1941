import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readAssertionKeys } from "../../lib/config/assertion_keys.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";

function pemOf(type: "sec1" | "pkcs8", namedCurve = "P-256"): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve });
  return privateKey.export({ type, format: "pem" }).toString();
}

async function withFile(text: string, test: (path: string) => void): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    test(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("--assertion-keys takes keys in both forms of PEM, in their order", async () => {
  await withFile(pemOf("sec1") + pemOf("pkcs8"), (path) => {
    const keys = readAssertionKeys(path, "Option --assertion-keys");
    assert.deepEqual(keys.map(({ crv, d }) => [crv, typeof d]), [
      ["P-256", "string"],
      ["P-256", "string"],
    ]);
  });
});

Deno.test("--assertion-keys refuses another curve, and a key twice, without quoting it", async () => {
  const one = pemOf("pkcs8");
  const cases = [[pemOf("pkcs8", "P-384"), /key 1 must hold/], [one + one, /key 2: repeats/]];
  for (const [text, fault] of cases as [string, RegExp][]) {
    await withFile(text, (path) => {
      assert.throws(() => readAssertionKeys(path, "Option --assertion-keys"), (error) => {
        assert.match((error as Error).message, fault);
        assert.ok(!(error as Error).message.includes(text.split("\n")[1]!));
        return true;
      });
    });
  }
});

Deno.test("relays that share a directory need the same keys where they sign anything", async () => {
  const cluster = { id: "dev", token: "a-token-of-an-agent-0123", targetAddr: "api" };
  const args = (entry: object, ...more: string[]) => [
    ...["--clusters", JSON.stringify([{ ...cluster, ...entry }]), "--callers", "open"],
    ...["--directory", "redis://127.0.0.1:1", "--relay-token", "x".repeat(32)],
    ...["--advertise", "http://127.0.0.1:8080", ...more],
  ];
  const signing = { impersonate: { prefix: "corp:" } };
  assert.throws(() => parseRelayOptions(args(signing), {}), /"dev".*need --assertion-keys/);
  assert.equal(parseRelayOptions(args({}), {}).kind, "run");
  await withFile(pemOf("pkcs8"), (path) => {
    const parsed = parseRelayOptions(args(signing, "--assertion-keys", path), {});
    assert.equal(parsed.kind, "run");
  });
});
