/** `agent check` over real sockets: one line for each step, whatever is wrong. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createServer } from "node:net";
import { okWith } from "../interop/contents.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { ConnectProxy } from "../support/connect_proxy.ts";
import { type ProgramResult, runProgram, startAgent, startRelay } from "../support/programs.ts";
import { fieldValues } from "../support/raw_http.ts";
import { answering, refusingAddress, startRawTarget } from "../support/target.ts";

const CLUSTER = "blue";
const token = "check-token-0123456789abcdef";
const credential = "check-credential-fedcba9876543210";
const proxyPassword = "check-proxy-password";

/** What a check printed: each line's state and detail by its name. */
function linesOf({ stdout }: ProgramResult): Record<string, string> {
  const rows = stdout.trimEnd().split("\n").map((line) => {
    const [, state, name, detail] = /^(ok|FAIL|skip) +([\w-]+ \w+) {2,}(.+)$/.exec(line) ?? [];
    ok(state && name && detail, line);
    return [name, `${state} ${detail}`];
  });
  return Object.fromEntries(rows);
}

function failuresOf(result: ProgramResult): string[] {
  return Object.entries(linesOf(result)).filter(([, line]) => line.startsWith("FAIL"))
    .map(([name]) => name);
}

async function check(...args: readonly string[]): Promise<ProgramResult> {
  const result = await runProgram("agent.ts", ["check", ...args], {
    ...{ HTTPS_PROXY: "", HTTP_PROXY: "", ALL_PROXY: "", NO_PROXY: "" },
    ...{ https_proxy: "", http_proxy: "", all_proxy: "", no_proxy: "" },
  }, 60_000);
  for (const secret of [token, credential, proxyPassword]) {
    equal((result.stdout + result.stderr).includes(secret), false, "a credential was printed");
  }
  return result;
}

/** Everything at hand, each part of it right; a test replaces one. */
async function withParts(
  run: (parts: {
    folder: string;
    own: Authority;
    relayAddress: string;
    relay: Awaited<ReturnType<typeof startRelay>>;
    target: Awaited<ReturnType<typeof startRawTarget>>;
    tokenPath: string;
    args: readonly string[];
  }) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const server = await own.issue("relay", "IP:127.0.0.1");
    const tokenPath = `${folder}/token`;
    await Deno.writeTextFile(tokenPath, credential);
    await using target = await startRawTarget(answering(okWith("{}")));
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token, targetAddr: target.address }],
      args: ["--tls-cert", server.certPath, "--tls-key", server.keyPath],
    });
    const relayAddress = relay.publicAddress;
    const args = [
      ...["--server", `wss://${relayAddress}/connect`, "--server-ca-cert", own.caPath],
      ...["--target", target.address, "--plain-target"],
      ...["--token", token, "--sa-token-path", tokenPath],
    ];
    await run({ folder, own, relayAddress, relay, target, tokenPath, args });
  });
}

/** The same arguments, with some options' values replaced. */
function withOptions(args: readonly string[], values: Readonly<Record<string, string>>): string[] {
  const result = [...args];
  for (const [name, value] of Object.entries(values)) {
    const index = result.indexOf(`--${name}`);
    if (index === -1) result.push(`--${name}`, value);
    else result[index + 1] = value;
  }
  return result;
}

Deno.test("agent check says ok to everything, and leaves the running agent's session alone", async () => {
  await withParts(async ({ args, own, relay, tokenPath, target }) => {
    await using agent = await startAgent({
      relayUrl: `wss://${relay.publicAddress}/connect`,
      ...{ token, target: target.address },
      args: ["--server-ca-cert", own.caPath, "--sa-token-path", tokenPath],
    });
    await relay.waitForAgent(CLUSTER);
    const result = await check(...args);
    deepEqual([result.code, result.stderr], [0, ""], result.stdout);
    const lines = linesOf(result);
    deepEqual(Object.keys(lines), [
      ...["relay address", "relay connection", "relay TLS", "relay token"],
      ...["target address", "target connection", "target credential"],
    ]);
    match(lines["relay TLS"]!, /^ok certificate of CN=relay, valid until \d{4}-.*Z$/);
    match(lines["relay token"]!, /^ok the relay accepts --token$/);
    match(lines["target credential"]!, /^ok the target accepts the token \(status \d+ for/);

    const left = await relay.waitForLog(({ reason }) => reason === "agent check");
    deepEqual([left.level, left.message, left.code], ["info", "Agent disconnected", 1000]);
    using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(own.caPath)] });
    const url = `https://${relay.internalAddress}/tunnel/${CLUSTER}/`;
    equal(await (await fetch(url, { client })).text(), "{}");
    const agentLog = await agent.completeLog();
    equal(agentLog.some(({ code }) => code === 1008), false, "the check replaces no session");
    const relayLog = await relay.completeLog();
    equal(relayLog.filter(({ message }) => message === "Agent connected").length, 1);
  });
});

Deno.test("agent check tries every target of a targets file, each with its own credential", async () => {
  await withParts(async ({ args, folder, relayAddress, target, tokenPath }) => {
    const refusing = refusingAddress();
    const foreign = await Authority.create(folder, "foreign");
    const targets = [
      { name: "web-app", address: target.address },
      { name: "api", address: target.address, credential: { file: tokenPath, header: "X-Key" } },
      { name: "pg", address: target.address, kind: "tcp" },
      { name: "tls", address: relayAddress, tls: { ca: foreign.caPath } },
      { name: "away", address: refusing, kind: "tcp" },
    ];
    const path = `${folder}/targets.yaml`;
    await Deno.writeTextFile(path, JSON.stringify({ targets }));
    const [, server = "", , ca = ""] = args;
    const common = ["--server", server, "--server-ca-cert", ca, "--token", token];
    const result = await check(...common, "--targets", path);
    const lines = linesOf(result);
    equal(result.code, 1);
    deepEqual(failuresOf(result), ["tls TLS", "away connection"]);
    equal(lines["target address"], undefined);
    match(lines["web-app credential"]!, /^ok the target answers \(status \d+\)/);
    match(lines["api credential"]!, /^ok the target accepts the token/);
    deepEqual([lines["pg address"]?.slice(0, 2), lines["pg connection"]?.slice(0, 2)], [
      "ok",
      "ok",
    ]);
    equal(lines["pg credential"], undefined);
    match(lines["tls TLS"]!, /tls\.ca in the targets file must hold the CA/);
    match(lines["away connection"]!, /--targets/);
    ok(
      target.connections.some(({ receivedText }) =>
        receivedText.includes(`X-Key: ${credential}\r\n`)
      ),
    );
  });
});

Deno.test("agent check finds what is wrong on the way to the relay", async (t) => {
  await withParts(async ({ args, own, folder, relayAddress }) => {
    const foreign = await Authority.create(folder, "foreign");
    const port = relayAddress.split(":")[1];
    const cases: readonly (readonly [string, Record<string, string>, string, RegExp])[] = [
      [
        "a name that does not resolve",
        { server: "wss://no-such-host.invalid/connect" },
        "relay address",
        /does not resolve .*--server|no answer within/,
      ],
      [
        "a port where nothing listens",
        { server: "wss://127.0.0.1:1/connect" },
        "relay connection",
        /127\.0\.0\.1:1 \(ECONNREFUSED\); nothing listens/,
      ],
      [
        "another CA",
        { "server-ca-cert": foreign.caPath },
        "relay TLS",
        /--server-ca-cert must hold the CA/,
      ],
      [
        "another name",
        { server: `wss://localhost:${port}/connect` },
        "relay TLS",
        /--server, or --server-name, must have a name/,
      ],
      [
        "a wrong token",
        { token: "another-token-that-is-wrong" },
        "relay token",
        /status 401 .*check --token/,
      ],
      [
        "a wrong path",
        { server: `wss://${relayAddress}/elsewhere` },
        "relay token",
        /status 404; --server must/,
      ],
    ];
    ok(own);
    for (const [what, options, step, says] of cases) {
      await t.step(what, async () => {
        const result = await check(...withOptions(args, options));
        equal(result.code, 1);
        deepEqual(failuresOf(result), [step], result.stdout);
        const lines = linesOf(result);
        match(lines[step]!, says);
        match(lines["target credential"]!, /^ok /, "the other side is checked as well");
        if (step !== "relay token") match(lines["relay token"]!, /^skip not tried, because/);
      });
    }
  });
});

Deno.test("agent check tells a relay's expired certificate from an unknown CA", async () => {
  await withParts(async ({ args, own, folder }) => {
    const ended = await own.issueUntil("ended", new Date(Date.now() - 86_400_000));
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token, targetAddr: "127.0.0.1:1" }],
      args: ["--tls-cert", ended.certPath, "--tls-key", ended.keyPath],
    });
    ok(folder);
    const server = `wss://${relay.publicAddress}/connect`;
    const result = await check(...withOptions(args, { server, "server-name": "ended" }));
    deepEqual([result.code, failuresOf(result)], [1, ["relay TLS"]]);
    match(
      linesOf(result)["relay TLS"]!,
      /the certificate expired on \d{4}-.*this machine's clock says .*--tls-cert/,
    );
  });
});

Deno.test("agent check says that a relay demands a client certificate", async () => {
  await withParts(async ({ args, own }) => {
    const server = await own.issue("strict", "IP:127.0.0.1");
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token, targetAddr: "127.0.0.1:1" }],
      args: [
        ...["--tls-cert", server.certPath, "--tls-key", server.keyPath],
        ...["--tls-client-ca", own.caPath],
      ],
    });
    const url = `wss://${relay.publicAddress}/connect`;
    const result = await check(...withOptions(args, { server: url }));
    equal(result.code, 1);
    const [failed, ...others] = failuresOf(result);
    deepEqual(others, []);
    match(linesOf(result)[failed!]!, /give (a certificate|one) with --client-cert/);
  });
});

Deno.test("agent check shows the agent's own certificate, and tells when it has expired", async (t) => {
  await withParts(async ({ args, own }) => {
    const pairs = {
      valid: await own.issue("agent", "DNS:agent"),
      expired: await own.issueUntil("ended", new Date(Date.now() - 86_400_000)),
    };
    const using = (pair: keyof typeof pairs) =>
      check(...args, "--client-cert", pairs[pair].certPath, "--client-key", pairs[pair].keyPath);
    await t.step("valid", async () => {
      const result = await using("valid");
      equal(result.code, 0, result.stdout);
      match(linesOf(result)["client certificate"]!, /^ok certificate of CN=agent, valid until/);
      match(linesOf(result)["relay token"]!, /, and the certificate in --client-cert$/);
    });
    await t.step("expired", async () => {
      const result = await using("expired");
      deepEqual([result.code, failuresOf(result)], [1, ["client certificate"]], result.stdout);
      match(linesOf(result)["client certificate"]!, /expired on \d{4}.*renew the file in --client/);
    });
  });
});

Deno.test("agent check goes through the proxy, and finds what is wrong with it", async (t) => {
  await withParts(async ({ args, relayAddress }) => {
    const authorization = `Basic ${btoa(`user:${proxyPassword}`)}`;
    await using proxy = await ConnectProxy.start({ upstream: relayAddress, authorization });
    const through = (url: string) => check(...withOptions(args, { proxy: url }));
    await t.step("all is well", async () => {
      const result = await through(`http://user:${proxyPassword}@${proxy.address}`);
      equal(result.code, 0, result.stdout);
      match(linesOf(result)["proxy tunnel"]!, /^ok the proxy connects to 127\.0\.0\.1:/);
    });
    await t.step("no credentials", async () => {
      const result = await through(`http://${proxy.address}`);
      deepEqual([result.code, failuresOf(result)], [1, ["proxy tunnel"]]);
      match(linesOf(result)["proxy tunnel"]!, /status 407.*http:\/\/USER:PASSWORD/);
    });
    await t.step("no proxy there", async () => {
      const result = await through("http://127.0.0.1:1");
      deepEqual([result.code, failuresOf(result)], [1, ["proxy connection"]]);
      match(
        linesOf(result)["proxy connection"]!,
        /ECONNREFUSED.*--proxy, --proxy-file or HTTPS_PROXY/,
      );
    });
  });
});

Deno.test("agent check finds what is wrong on the way to the target", async (t) => {
  await withParts(async ({ args, tokenPath }) => {
    const expects = async (values: Record<string, string>, step: string, says: RegExp) => {
      const result = await check(...withOptions(args, values));
      deepEqual([result.code, failuresOf(result)], [1, [step]], result.stdout);
      match(linesOf(result)[step]!, says);
    };
    const refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    await using strict = await startRawTarget(answering(refusal));
    await t.step(
      "a name that does not resolve",
      () =>
        expects(
          { target: "no-such-host.invalid:443" },
          "target address",
          /does not resolve.*--target|no answer within/,
        ),
    );
    await t.step(
      "a port where nothing listens",
      () => expects({ target: "127.0.0.1:1" }, "target connection", /ECONNREFUSED/),
    );
    await t.step(
      "a token that it refuses",
      () =>
        expects(
          { target: strict.address },
          "target credential",
          /refuses the token in ".*token" \(status 401\); .*--sa-token-path/,
        ),
    );
    await t.step("a token that has expired", async () => {
      await Deno.writeTextFile(
        tokenPath,
        `e30.${btoa('{"exp":1700000000}').replaceAll("=", "")}.x`,
      );
      await expects({ target: strict.address }, "target credential", /it expired on 2023-11-14/);
      await Deno.writeTextFile(tokenPath, credential);
    });
    await t.step(
      "no token file",
      () =>
        expects(
          { "sa-token-path": "/no/such/file" },
          "target credential",
          /can't be read: .*--sa-token-path/,
        ),
    );
    await t.step("something else than HTTP", async () => {
      await using chatty = await startRawTarget(answering("220 ftp.example.com ready\r\n\r\n"));
      await expects({ target: chatty.address }, "target credential", /./);
    });
    await t.step("an API server's answer to plain HTTP at its TLS port", async () => {
      const text = "Client sent an HTTP request to an HTTPS server.\n";
      await using secure = await startRawTarget(
        answering(`HTTP/1.0 400 Bad Request\r\n\r\n${text}`),
      );
      await expects({ target: secure.address }, "target credential", /leave out --plain-target/);
    });
    await t.step("a target that never answers", async () => {
      const silent = createServer(() => {});
      await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
      const { port } = silent.address() as { port: number };
      await expects({ target: `127.0.0.1:${port}` }, "target credential", /no answer within 5 s/);
      silent.close();
    });
  });
});

Deno.test("agent check verifies the target's TLS as the agent does", async (t) => {
  await withFolder(async (folder) => {
    const own = await Authority.create(folder, "own");
    const foreign = await Authority.create(folder, "foreign");
    const pair = await own.issue("target", "IP:127.0.0.1");
    const ended = await own.issueUntil("ended", new Date(Date.now() - 86_400_000));
    const serve = async ({ certPath, keyPath }: { certPath: string; keyPath: string }) => {
      const [cert, key] = await Promise.all(
        [certPath, keyPath].map((path) => Deno.readTextFile(path)),
      );
      return Deno.serve(
        {
          hostname: "127.0.0.1",
          port: 0,
          cert: cert!,
          key: key!,
          onListen() {},
          onError: () => new Response(null),
        },
        (request) => Response.json(request.headers.get("authorization")),
      );
    };
    await using server = await serve(pair);
    await using old = await serve(ended);
    const base = ["--token", token, "--server", "wss://127.0.0.1:1/connect", "--sa-token-path="];
    const at = (port: number, ca: string, ...more: string[]) =>
      check(...base, "--target", `127.0.0.1:${port}`, "--ca-cert", ca, ...more);
    const targetLines = (result: ProgramResult) =>
      failuresOf(result).filter((name) => name.startsWith("target"));
    await t.step("trusted", async () => {
      const result = await at(server.addr.port, own.caPath);
      deepEqual(targetLines(result), [], result.stdout);
      match(linesOf(result)["target TLS"]!, /^ok certificate of CN=target, valid until/);
      match(linesOf(result)["target credential"]!, /sends no credential/);
    });
    await t.step("another CA", async () => {
      const result = await at(server.addr.port, foreign.caPath);
      deepEqual(targetLines(result), ["target TLS"]);
      match(linesOf(result)["target TLS"]!, /--ca-cert must hold the CA/);
    });
    await t.step("expired", async () => {
      const result = await at(old.addr.port, own.caPath, "--tls-server-name", "ended");
      deepEqual(targetLines(result), ["target TLS"]);
      match(linesOf(result)["target TLS"]!, /the certificate expired on/);
    });
    await t.step("--plain-target to a port with TLS", async () => {
      const result = await check(
        ...base,
        "--target",
        `127.0.0.1:${server.addr.port}`,
        "--plain-target",
      );
      deepEqual(targetLines(result), ["target credential"]);
      match(linesOf(result)["target credential"]!, /speaks TLS; leave out --plain-target/);
    });
  });
});

Deno.test("agent check sends the credential that the agent would send", async () => {
  const seen: string[][] = [];
  await withParts(async ({ args }) => {
    await using target = await startRawTarget(answering((request) => {
      seen.push([...fieldValues(request, "authorization")]);
      return okWith("{}");
    }));
    equal((await check(...withOptions(args, { target: target.address }))).code, 0);
  });
  deepEqual(seen, [[`Bearer ${credential}`]]);
});

Deno.test("agent check ends with 2 for a wrong option, and teaches itself by --help", async () => {
  const wrong = await check("--server", "https://x", "--token", token);
  equal(wrong.code, 2);
  match(wrong.stderr, /^agent: Option --server must begin with wss:/);
  const help = await check("--help");
  equal(help.code, 0);
  match(help.stdout, /^Usage: agent check --server URL/);
  match(help.stdout, /1 {2}Something failed/);
  match((await runProgram("agent.ts", ["--help"])).stdout, /\n {2}agent check {2}Test the conn/);
});
