/**
 * What a program is given and cannot run with: one line on standard error that names the option and
 * says what would be right, exit code 2, and nothing else. `tests/config/` has the rules of each
 * option; here it is the programs themselves, as a user starts them.
 */
import { lastOfEach } from "../support/arguments.ts";
import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { hashToken } from "../../lib/relay/digests.ts";
import { runProgram, startAgent, startRelay } from "../support/programs.ts";

type Script = "relay.ts" | "agent.ts";

interface Refusal {
  readonly what: string;
  readonly script: Script;
  readonly args: readonly string[];
  /** What the one line must say, behind the program's name. */
  readonly says: RegExp;
}

const token = "a-token-of-24-characters";
const tokenSha256 = await hashToken(token);
const clusters = JSON.stringify([{ id: "blue", token, targetAddr: "127.0.0.1:80" }]);
const listening = ["-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0"];
const relayArgs = [...listening, "-clusters", clusters];
const serverArgs = ["-server", "wss://relay.example/connect", "-token", token];
const agentArgs = [...serverArgs, "-plain-target", "-sa-token-path="];

/** Names of variables that the programs read; a test must not be disturbed by its own environment. */
const noEnv = Object.fromEntries(
  ["CLUSTERS", "SERVER_URL", "TOKEN", "ADDR", "INTERNAL_ADDR", "HEALTH_ADDR", "TLS_CERT", "TLS_KEY"]
    .map((name) => [name, ""]),
);

/** The options of the system that culvert replaces: its users must find them all. */
const optionsOf: Readonly<Record<Script, readonly string[]>> = {
  "relay.ts": [
    ...["addr", "internal-addr", "clusters", "rate-limit", "tls-cert", "tls-key", "tls-client-ca"],
    "log-level",
  ],
  "agent.ts": [
    ...["server", "token", "target", "sa-token-path", "ca-cert", "insecure", "plain-target"],
    ...["allow-insecure-server", "server-ca-cert", "client-cert", "client-key", "max-retry"],
    ...["max-conns", "health-addr", "log-level"],
  ],
};

function entries(...list: readonly Record<string, unknown>[]): string[] {
  const full = list.map((entry) => ({ targetAddr: "127.0.0.1:80", ...entry }));
  return [...listening, "-clusters", JSON.stringify(full)];
}

const refusals: readonly Refusal[] = [
  {
    what: "an unknown option",
    script: "relay.ts",
    args: [...relayArgs, "-rate-limt", "5"],
    says: /^Unknown option -rate-limt; did you mean --rate-limit\? Run relay --help$/,
  },
  {
    what: "an unknown option of the agent's",
    script: "agent.ts",
    args: [...agentArgs, "--targt=x:1"],
    says: /^Unknown option --targt; did you mean --target\? Run agent --help$/,
  },
  {
    what: "a wrong value",
    script: "relay.ts",
    args: [...relayArgs, "-rate-limit", "many"],
    says: /^Option --rate-limit must be a number of at least 0, but is "many"$/,
  },
  {
    what: "no clusters",
    script: "relay.ts",
    args: listening,
    says: /^Option --clusters is required: give --clusters FILE\|DIR\|JSON or .* CLUSTERS$/,
  },
  {
    what: "no server",
    script: "agent.ts",
    args: ["-token", token],
    says: /^Option --server is required: give --server URL or .* SERVER_URL$/,
  },
  {
    what: "no token",
    script: "agent.ts",
    args: ["-server", "wss://relay.example/connect"],
    says: /^Option --token is required: give --token TOKEN or .* TOKEN$/,
  },
  {
    what: "a clusters file that is not there",
    script: "relay.ts",
    args: [...listening, "-clusters", "/nonexistent/clusters.json"],
    says: /^Option --clusters names "\/nonexistent\/clusters.json", .*no such file$/,
  },
  {
    what: "a directory without clusters files",
    script: "relay.ts",
    args: [...listening, "-clusters", "lib"],
    says: /^Clusters directory "lib" has no \*\.json file$/,
  },
  {
    what: "a clusters file that is not JSON",
    script: "relay.ts",
    args: [...listening, "-clusters", '[{"id": "blue",]'],
    says: /^Option --clusters: it is not JSON at line 1, column \d+; it must be a JSON array/,
  },
  {
    what: "a cluster with a wrong key",
    script: "relay.ts",
    args: entries({ id: "blue", tokn: "x" }),
    says: /^Option --clusters, entry 1 \("blue"\): unknown key "tokn"; did you mean "token"\?/,
  },
  {
    what: "a cluster with a wrong target",
    script: "relay.ts",
    args: entries({ id: "blue", token, targetAddr: "host:port" }),
    says: /^Option --clusters, entry 1 \("blue"\): targetAddr: must be HOST:PORT/,
  },
  {
    what: "two clusters with one id",
    script: "relay.ts",
    args: entries({ id: "blue", token }, { id: "blue", token: `${token}2` }),
    says: /^Option --clusters: entries 1 and 2 have the same id "blue"$/,
  },
  {
    what: "two clusters with one token",
    script: "relay.ts",
    args: entries({ id: "blue", token }, { id: "red", token }),
    says: /^Option --clusters: entries 1 \("blue"\) and 2 \("red"\) have the same token; each/,
  },
  {
    what: "a token and the digest of the same token",
    script: "relay.ts",
    args: entries({ id: "blue", token }, { id: "red", tokenSha256 }),
    says: /^Token "default" of cluster "blue" is also token "default" of cluster "red"; each/,
  },
  {
    what: "a token and a digest in one entry",
    script: "relay.ts",
    args: entries({ id: "blue", token, tokenSha256 }),
    says: /^Option --clusters, entry 1 \("blue"\): has token and tokenSha256; give one of them$/,
  },
  {
    what: "a certificate's name without mutual TLS",
    script: "relay.ts",
    args: entries({ id: "blue", token, certificateName: "blue.agent" }),
    says: /^Option --clusters, entry 1 \("blue"\): certificateName: needs --tls-client-ca/,
  },
  {
    what: "an internal listener that others can reach, and nobody who may call",
    script: "relay.ts",
    args: ["-addr", "127.0.0.1:0", "-internal-addr", "0.0.0.0:0", "-clusters", clusters],
    says:
      /^Option --internal-addr is "0\.0\.0\.0:0", which other machines can reach, .* --caller-tokens, .*--callers open/,
  },
  {
    what: "a caller without a token",
    script: "relay.ts",
    args: [...relayArgs, "-caller-tokens", JSON.stringify([{ name: "x", clusters: ["*"] }])],
    says: /^Option --caller-tokens, entry 1: must have either token or tokenSha256$/,
  },
  {
    what: "half of what JWTs need",
    script: "relay.ts",
    args: [...relayArgs, "-caller-jwt-issuer", "https://issuer.example"],
    says:
      /^Option --caller-jwt-issuer needs --caller-jwt-audience and .*--caller-jwt-rules as well$/,
  },
  {
    what: "a certificate without its key",
    script: "relay.ts",
    args: [...relayArgs, "-tls-cert", "/nonexistent/tls.crt"],
    says: /^Option --tls-cert needs --tls-key as well$/,
  },
  {
    what: "a certificate file that is not there",
    script: "relay.ts",
    args: [...relayArgs, "-tls-cert", "/nonexistent/tls.crt", "-tls-key", "/nonexistent/tls.key"],
    says: /^Option --tls-cert names "\/nonexistent\/tls.crt", .*no such file$/,
  },
  {
    what: "the target's CA file that is not there",
    script: "agent.ts",
    args: [...serverArgs, "-ca-cert", "/nonexistent/ca.crt"],
    says: /^Option --ca-cert names "\/nonexistent\/ca.crt", .*no such file; give .*--plain-target/,
  },
  {
    what: "ws:// without permission",
    script: "agent.ts",
    args: ["-server", "ws://relay.example/connect", "-token", token, "-plain-target"],
    says: /^Option --server begins with ws:\/\/.*; use wss:\/\/, or .*--allow-insecure-server$/,
  },
  {
    what: "a URL that is none of a relay's",
    script: "agent.ts",
    args: ["-server", "https://relay.example/connect", "-token", token],
    says: /^Option --server must begin with wss:\/\/ or ws:\/\/, but is "https:/,
  },
];

for (const { what, script, args, says } of refusals) {
  Deno.test(`${script} given ${what} says so in one line and ends with 2`, async () => {
    await assertRefused(script, args, says);
  });
}

for (
  const { script, option, args } of [
    { script: "relay.ts", option: "addr", args: relayArgs },
    { script: "relay.ts", option: "internal-addr", args: relayArgs },
    { script: "agent.ts", option: "health-addr", args: agentArgs },
  ] as const
) {
  Deno.test(`${script} whose --${option} is in use says so in one line and ends with 2`, async () => {
    const server = createServer();
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    try {
      const bound = server.address();
      if (bound === null || typeof bound === "string") throw new Error("No TCP address");
      const address = `127.0.0.1:${bound.port}`;
      const says = new RegExp(
        `^Option --${option}: .*${address}: the port is in use; if another relay or agent .*, give this one a port of its own, or port 0`,
      );
      await assertRefused(script, lastOfEach([...args, `-${option}`, address]), says);
    } finally {
      const closed = once(server, "close");
      server.close();
      await closed;
    }
  });
}

/** Runs a program to its end; its log, of what came before, is no part of the one line. */
async function assertRefused(script: Script, args: readonly string[], says: RegExp): Promise<void> {
  const { code, stdout, stderr } = await runProgram(script, args, noEnv);
  equal(code, 2, stderr);
  equal(stdout, "");
  doesNotMatch(stderr, new RegExp(token), "a token is a secret");
  const lines = stderr.trimEnd().split("\n").filter((line) => !line.startsWith('{"time"'));
  equal(lines.length, 1, stderr);
  const [, program, message = ""] = /^(\w+): (.*)$/.exec(lines[0] ?? "") ?? [];
  equal(`${program}.ts`, script);
  match(message, says);
}

for (const script of ["relay.ts", "agent.ts"] as const) {
  const name = script.replace(".ts", "");
  for (const dashes of ["-", "--"]) {
    Deno.test(`${script} ${dashes}help explains every option and ends with 0`, async () => {
      const { code, stdout, stderr } = await runProgram(script, [`${dashes}help`], noEnv);
      deepEqual({ code, stderr }, { code: 0, stderr: "" });
      match(stdout, new RegExp(`^Usage: ${name} `, "m"));
      for (const option of optionsOf[script]) match(stdout, new RegExp(`--${option}\\b`));
    });

    Deno.test(`${script} ${dashes}version says what it is and ends with 0`, async () => {
      const { code, stdout, stderr } = await runProgram(script, [`${dashes}version`], noEnv);
      deepEqual({ code, stderr }, { code: 0, stderr: "" });
      match(stdout, new RegExp(`^culvert ${name} \\d+\\.\\d+\\.\\d+\\n$`));
    });
  }
}

Deno.test("a relay with a short token warns and runs, and does not show it", async () => {
  const short = "short-token";
  await using relay = await startRelay({
    clusters: [{ id: "blue", token: short, targetAddr: "127.0.0.1:80" }],
  });
  const { message } = await relay.waitForLog(({ level }) => level === "warn");
  match(message, /entry 1 \("blue"\): token: is shorter than 16 characters/);
  doesNotMatch(relay.program.logText(), new RegExp(short));
  equal(await relay.stop(), 0);
});

Deno.test("an agent that may use ws:// and skips verification warns and runs", async () => {
  await using agent = await startAgent({
    relayUrl: "ws://127.0.0.1:9/connect",
    token,
    target: "127.0.0.1:9",
    usesTlsTarget: true,
    waitsForSession: false,
    args: ["-insecure"],
  });
  for (const warning of [/ws:\/\/: the token can be read on the way/, /--insecure: the target's/]) {
    await agent.waitForLog(({ level, message }) => level === "warn" && warning.test(message));
  }
  equal(await agent.program.stop(), 0);
});
