/** What stops a relay with sign-in or services from starting, and what it says when it starts. */
import assert from "node:assert/strict";
import { freePort } from "../support/free_port.ts";
import { runProgram, startRelay } from "../support/programs.ts";

const provider =
  `{ name: corp, kind: oidc, issuer: "https://id.example.com", clientId: c, clientSecret: s }`;

/** A services file. */
function file(more: string, policy = "policy: staff"): string {
  return `
${more}
providers: [${provider}]
policies: [{ name: staff, any: [{ emailDomain: example.com }] }]
services: [{ name: app, hostnames: [app.localhost], cluster: dev, target: "127.0.0.1:1", ${policy} }]
`;
}

async function withServices(text: string, test: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, text);
    await test(path);
  } finally {
    await Deno.remove(path);
  }
}

const relayArgs = ["-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0", "-clusters", "[]"];

for (
  const { name, text, args, message } of [
    {
      name: "A service without a policy",
      text: file("login: { host: login.localhost }", ""),
      args: ["-web-addr", "127.0.0.1:0"],
      message: /entry 1 \("app"\): policy: is missing: it must be "public"/,
    },
    {
      name: "A service whose policy needs people, where nobody signs in",
      text: file("login: { host: login.localhost }").replace(provider, ""),
      args: ["-web-addr", "127.0.0.1:0"],
      message: /provider/,
    },
    {
      name: "A login host on plain HTTP that others reach",
      text: file("login: { host: login.example.com }"),
      args: ["-web-addr", "0.0.0.0:0"],
      message: /--web-addr is "0\.0\.0\.0:0", which other machines can reach; without certificates/,
    },
    {
      name: "A provider on plain HTTP that is not on this machine",
      text: file("login: { host: login.localhost }").replace("https://id", "http://id"),
      args: ["-web-addr", "127.0.0.1:0"],
      message: /issuer/,
    },
    {
      name: "A service at the login host",
      text: file("login: { host: app.localhost }"),
      args: ["-web-addr", "127.0.0.1:0"],
      message: /app\.localhost/,
    },
  ]
) {
  Deno.test(`${name} stops the relay from starting, with 2 and a sentence`, async () => {
    await withServices(text, async (path) => {
      const { code, stdout, stderr } = await runProgram("relay.ts", [
        ...[...relayArgs, "-services", path],
        ...args,
      ]);
      assert.equal(code, 2, stdout + stderr);
      assert.match(stdout + stderr, message);
    });
  });
}

Deno.test("A relay with a public service and sign-in on plain HTTP starts on loopback, and warns of both", async () => {
  const text = file("login: { host: login.localhost }", "policy: public");
  await withServices(text, async (path) => {
    await using relay = await startRelay({
      clusters: [],
      args: ["-services", path, "-web-addr", `127.0.0.1:${freePort()}`],
    });
    await relay.waitForLog(({ level, message }) =>
      level === "warn" && message.endsWith('policy: "public" lets everybody in who reaches it')
    );
    await relay.waitForLog(({ level, message }) =>
      level === "warn" &&
      message.startsWith("People sign in without TLS: their cookies are for tests on this machine")
    );
  });
});
