/** `relay token`: a token that the agent shows and the relay knows by its digest alone. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { startAgent, startRelay } from "../support/programs.ts";
import { printed, refusal, relay } from "./run.ts";

const form = /^culvert_[\w-]{43}$/;

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}

Deno.test("relay token: a token and its SHA-256, each on a line of its own", async () => {
  const lines = (await printed(["token"])).trimEnd().split("\n");
  equal(lines.length, 4);
  const [token = "", digest] = [lines[1]?.trim(), lines[3]?.trim()];
  match(token, form);
  equal(digest, await sha256(token));
});

Deno.test("relay token: no two are the same", async () => {
  const [one, other] = await Promise.all([
    printed(["token", "--json"]),
    printed(["token", "--json"]),
  ]);
  ok(JSON.parse(one).token !== JSON.parse(other).token);
});

Deno.test("relay token --cluster: an agent with it gets in at a relay with the entry", async () => {
  const target = "127.0.0.1:1";
  const args = ["token", "--cluster", "dev", "--target", target, "--json"];
  const { token, tokenSha256, entry } = JSON.parse(await printed(args));
  const clusters = [entry];
  const expected = { id: "dev", tokenSha256, targetAddr: target };
  equal(JSON.stringify(entry), JSON.stringify(expected));
  await using running = await startRelay({ clusters });
  await using _agent = await startAgent({ relayUrl: running.connectUrl, token, target });
  await running.waitForAgent("dev");
});

Deno.test("relay token --cluster: as text the entry is JSON on a line", async () => {
  const lines = (await printed(["token", "--cluster", "dev"])).trimEnd().split("\n");
  equal(lines.length, 6);
  const tokenSha256 = await sha256(lines[1]!.trim());
  deepEqual(JSON.parse(lines[5]!), {
    id: "dev",
    tokenSha256,
    targetAddr: "kubernetes.default.svc:443",
  });
});

Deno.test("relay token --stdin: hashes a token and does not print it again", async () => {
  const token = "a-token-of-old-0123456789";
  const tokenSha256 = await sha256(token);
  for (const end of ["", "\n", "\r\n"]) {
    const text = await printed(["token", "--stdin"], token + end);
    ok(text.includes(`  ${tokenSha256}\n`) && !text.includes(token), text);
    deepEqual(JSON.parse(await printed(["token", "--stdin", "--json"], token + end)), {
      tokenSha256,
    });
  }
});

Deno.test("relay token --stdin: a short token is hashed, with a warning", async () => {
  const { code, stdout, stderr } = await relay(["token", "--stdin", "--json"], "short");
  equal(code, 0);
  match(stderr, /^relay: The token is shorter than 16 characters and can be guessed\n$/);
  deepEqual(JSON.parse(stdout), { tokenSha256: await sha256("short") });
});

Deno.test("relay token --stdin: a byte order mark and Windows line ends are no part of a token", async () => {
  const text = await printed(["token", "--stdin", "--json"], "\ufeffa-token-of-this-test\r\n");
  deepEqual(JSON.parse(text), { tokenSha256: await sha256("a-token-of-this-test") });
});

Deno.test("relay help COMMAND prints what COMMAND --help does", async () => {
  equal(await printed(["help", "token"]), await printed(["token", "--help"]));
  equal(await printed(["help"]), await printed(["--help"]));
  match(await printed(["version"]), /^culvert relay \d/);
});

Deno.test("relay token: what it can't use is one line and code 2", async () => {
  const cases: readonly [readonly string[], string, RegExp][] = [
    [["--stdin"], "", /^Option --stdin: what was read holds no token$/],
    [["--stdin"], "two words \n", /^Option --stdin: .* must be printable ASCII/],
    [
      ["--stdin"],
      "x".repeat(70_000),
      /^Option --stdin: standard input must end within 65536 bytes$/,
    ],
    [["--stdin"], "[\0t\0o\0k\0", /^Option --stdin: standard input is UTF-16; save it as UTF-8$/],
    [["--stdin"], '"quoted-token"\n', /^Option --stdin: what was read is in double quotes/],
    [["--stdin"], "Bearer token\r\n", /^Option --stdin: what was read begins with "Bearer"/],
    [["--target", "a:1"], "", /^Option --target needs --cluster as well$/],
    [["--cluster", "a", "--target", "a"], "", /^Option --target must be HOST:PORT/],
    [["--cluster", ".."], "", /^Option --cluster must be 1 to 253 letters/],
    [["culvert_0123456789"], "", /^Unexpected argument 1: (?!.*culvert_)/],
  ];
  for (const [args, stdin, says] of cases) match(await refusal(["token", ...args], stdin), says);
});
