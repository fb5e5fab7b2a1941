/** The program `access` with people: a real relay, a real provider, and what would be a browser. */
import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { Program, runProgram, startAgent, startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { clientId, clientSecret } from "../signin/fake_provider.ts";
import { RealOidcProvider } from "../signin/oidc_provider.ts";
import { consent, nextOf, signInFor } from "../signin/program_browser.ts";
import { originOf, SocketBrowser, startSystem, type System } from "../signin/programs.ts";

const mirror = answering(({ bytes }) =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${
    new TextDecoder("latin1").decode(bytes)
  }`
);

/** Where `access` of one test keeps its tokens. */
class Home implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(): Promise<Home> {
    return new Home(await Deno.makeTempDir({ prefix: "culvert-home-" }));
  }

  get env(): Record<string, string> {
    // Its browser writes down what it is to open.
    return { XDG_CONFIG_HOME: this.path, BROWSER: `${this.path}/browser`, CULVERT_TOKEN: "" };
  }

  get tokensPath(): string {
    return `${this.path}/culvert/tokens.json`;
  }

  async useBrowser(): Promise<void> {
    const script = `#!/bin/sh\necho "$1" >> ${this.path}/opened\n`;
    await Deno.writeTextFile(`${this.path}/browser`, script, { mode: 0o755 });
  }

  async opened(): Promise<string[]> {
    const text = await Deno.readTextFile(`${this.path}/opened`).catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Starts a command that has somebody sign in, and signs in. */
async function signingIn(
  args: readonly string[],
  home: Home,
  browser = new SocketBrowser(),
): Promise<Program> {
  const program = Program.start("access.ts", args, home.env);
  const { message } = await program.waitForLog(({ message }) => /\/authorize\?/.test(message));
  const page = await signInFor(browser, message.replace(/^access: /, ""));
  assert.equal(page.status, 200, page.text);
  assert.match(page.text, /You are signed in as ann@example\.com/);
  return program;
}

/** Asks a service with the token that a home has. */
async function status(system: System, name: string, home: Home): Promise<number> {
  const { signedIn: [first] } = JSON.parse(await Deno.readTextFile(home.tokensPath));
  const answer = await new SocketBrowser().send(`${originOf(system, name)}/x`, {
    headers: { Authorization: `Bearer ${first.accessToken}` },
  });
  return answer.status;
}

Deno.test("People sign in with access, and its commands use their token", async (t) => {
  await using target = await startRawTarget(mirror);
  await using system = await startSystem(target.address);
  await using home = await Home.make();
  await home.useBrowser();
  const app = originOf(system, "app");
  const other = originOf(system, "other");

  await t.step(
    "login opens a browser, and keeps the token where only its user reads it",
    async () => {
      await using program = await signingIn(["login", app, "--timeout", "60s"], home);
      assert.equal(await program.ended(), 0, program.logText());
      assert.match(program.logText(), /Signed in as ann@example\.com/);
      await eventually(async () => (await home.opened()).length > 0, "the browser", 60_000);
      const [url] = await home.opened();
      assert.ok(url!.startsWith(`${app}/.culvert/authorize?`));
      const { mode } = await Deno.stat(home.tokensPath);
      assert.equal(mode! & 0o777, 0o600);
      assert.doesNotMatch(program.logText(), /culvert_|eyJ/);
    },
  );

  await t.step("the token opens the host that was named, and no other", async () => {
    assert.equal(await status(system, "app", home), 200);
    assert.equal(await status(system, "other", home), 401);
  });

  await t.step("the target never sees the token", async () => {
    const { signedIn: [{ accessToken }] } = JSON.parse(await Deno.readTextFile(home.tokensPath));
    for (const name of ["Authorization", "Culvert-Authorization"]) {
      const answer = await new SocketBrowser().send(`${app}/x`, {
        headers: { [name]: `Bearer ${accessToken}` },
      });
      assert.match(answer.text, /^GET \/x HTTP/);
      assert.doesNotMatch(answer.text, /culvert_/);
    }
  });

  await t.step("services lists what the person may open", async () => {
    const { code, stdout, stderr } = await runProgram("access.ts", ["services", app], home.env);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^app +http/m);
    assert.match(stdout, /^other +http/m);
    assert.doesNotMatch(stdout, /^closed/m);
  });

  await t.step("a command without a token has its user sign in", async () => {
    await using program = await signingIn(["http", other, "--listen", "127.0.0.1:0"], home);
    const { message } = await program.waitForLog(({ message }) => message.startsWith("Listening"));
    const port = /:(\d+) for/.exec(message)![1];
    const answer = await within(fetch(`http://127.0.0.1:${port}/y`), "the answer");
    assert.equal(answer.status, 200);
    assert.match(await answer.text(), /^GET \/y HTTP/);
  });

  await t.step(
    "kubectl-token prints a credential, and nothing else on standard output",
    async () => {
      const info = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };
      const env = { ...home.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
      const { code, stdout } = await runProgram("access.ts", ["kubectl-token", app], env);
      assert.equal(code, 0);
      const { apiVersion, kind, status } = JSON.parse(stdout);
      assert.deepEqual({ apiVersion, kind }, info);
      assert.match(status.token, /^culvert_/);
      assert.ok(Date.parse(status.expirationTimestamp) > Date.now());
      const wrong = await runProgram("access.ts", ["kubectl-token", app], {
        ...env,
        KUBERNETES_EXEC_INFO: '{"apiVersion":"x/v9","kind":"ExecCredential"}',
      });
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /KUBERNETES_EXEC_INFO asks for "x\/v9"/);
    },
  );

  await t.step("a session that the relay has ended is signed in to anew", async () => {
    const before = await Deno.readTextFile(home.tokensPath);
    const { signedIn } = JSON.parse(before);
    const mine = signedIn.find((it: { places: string[] }) => it.places.includes(app));
    await new SocketBrowser().send(`${app}/.culvert/revoke`, {
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ token: mine.refreshToken }).toString(),
    });
    assert.equal(
      (await new SocketBrowser().send(`${app}/x`, {
        headers: { Authorization: `Bearer ${mine.accessToken}` },
      })).status,
      401,
    );
    await using program = await signingIn(["kubectl-token", app], home);
    assert.equal(await program.ended(), 0, program.logText());
  });

  await t.step("logout ends the session at the relay, and forgets the token", async () => {
    const { signedIn } = JSON.parse(await Deno.readTextFile(home.tokensPath));
    const mine = signedIn.find((it: { places: string[] }) => it.places.includes(app));
    const { code, stdout } = await runProgram("access.ts", ["logout", app], home.env);
    assert.equal(code, 0);
    assert.match(stdout, /Signed out ann@example\.com/);
    const answer = await new SocketBrowser().send(`${app}/x`, {
      headers: { Authorization: `Bearer ${mine.accessToken}` },
    });
    assert.equal(answer.status, 401);
    const left = JSON.parse(await Deno.readTextFile(home.tokensPath)).signedIn;
    assert.deepEqual(left.map((it: { places: string[] }) => it.places), [[other]]);
  });
});

Deno.test("On a machine without a browser, people sign in elsewhere by a code, if that is allowed", async () => {
  await using target = await startRawTarget(mirror);
  await using home = await Home.make();
  {
    await using system = await startSystem(target.address);
    const args = ["login", originOf(system, "app"), "--device"];
    const { code, stderr } = await runProgram("access.ts", args, home.env);
    assert.equal(code, 1);
    assert.match(stderr, /has not allowed sign-in by code \(deviceFlow\)/);
    const page = await new SocketBrowser().open(`${originOf(system, "login")}/.culvert/device`);
    assert.equal(page.status, 403);
  }
  await using system = await startSystem(
    target.address,
    (text) => text.replace("provider: corp }", "provider: corp, deviceFlow: true }"),
  );
  const login = originOf(system, "login");
  const app = originOf(system, "app");
  const browser = new SocketBrowser();
  const type = async (code: string) => {
    const form = await browser.open(`${login}/.culvert/device`);
    assert.equal(form.status, 200);
    return await browser.send(`${login}/.culvert/device`, {
      method: "POST",
      headers: {
        Origin: login,
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/x-www-form-urlencoded",
      },
      body: new URLSearchParams({ code }).toString(),
    });
  };
  assert.equal((await type("AAAA-BBBB")).status, 400);
  const started = async () => {
    const program = Program.start("access.ts", ["login", app, "--device"], home.env);
    const { message } = await program.waitForLog(({ message }) => /type this code/.test(message));
    return { program, code: /: ([A-Z]{4}-[A-Z]{4})$/.exec(message)![1]! };
  };
  {
    const { program, code } = await started();
    await using _program = program;
    const asked = await type(code.toLowerCase().replace("-", " "));
    assert.equal(asked.status, 200, asked.text);
    assert.match(asked.text, /on another machine/);
    assert.match(asked.text, /app\.localhost/);
    const said = await consent(browser, asked);
    const done = await browser.open(nextOf(said));
    assert.match(done.text, /Signed in as ann@example\.com/);
    assert.equal(await program.ended(60_000), 0, program.logText());
    assert.equal(await status(system, "app", home), 200);
    // The code has been used.
    const again = await consent(browser, asked);
    assert.equal((await browser.open(nextOf(again))).status, 400);
  }
  await runProgram("access.ts", ["logout"], home.env);
  const { program, code } = await started();
  await using _program = program;
  const refused = await consent(browser, await type(code), { refuse: "yes" });
  assert.match(refused.text, /The program gets no access/);
  assert.equal(await program.ended(60_000), 1);
  assert.match(program.logText(), /the sign-in was refused/);
});

Deno.test("Many programs that need the same sign-in open one browser", async () => {
  await using target = await startRawTarget(mirror);
  await using system = await startSystem(target.address);
  await using home = await Home.make();
  await home.useBrowser();
  const app = originOf(system, "app");
  const programs = Array.from(
    { length: 6 },
    () => runProgram("access.ts", ["kubectl-token", app], home.env, 120_000),
  );
  await eventually(async () => (await home.opened()).length > 0, "the browser", 60_000);
  const [url] = await home.opened();
  await signInFor(new SocketBrowser(), url!);
  for (const { code, stdout, stderr } of await Promise.all(programs)) {
    assert.equal(code, 0, stderr);
    assert.match(JSON.parse(stdout).status.token, /^culvert_/);
  }
  assert.equal((await home.opened()).length, 1);
});

Deno.test("A sign-in that nobody answers fails with what to do, and the third opens no browser", async () => {
  await using target = await startRawTarget(mirror);
  await using system = await startSystem(target.address);
  await using home = await Home.make();
  await home.useBrowser();
  const app = originOf(system, "app");
  for (let run = 1; run <= 3; run++) {
    const { code, stdout, stderr } = await runProgram(
      "access.ts",
      ["kubectl-token", app, "--timeout", "1s"],
      home.env,
    );
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /nobody has signed in within 1 s; run access login http:\/\/app/);
    assert.match(stderr, /\/\.culvert\/authorize\?/);
    const opened = Math.min(run, 2);
    await eventually(async () => (await home.opened()).length === opened, "the browser");
  }
});

Deno.test("access tcp signs its user in, and ends connections with the session, with the reason", async () => {
  await using stack = new AsyncDisposableStack();
  const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  stack.defer(() => echo.close());
  void (async () => {
    for await (const connection of echo) {
      connection.readable.pipeTo(connection.writable).catch(() => {});
    }
  })();
  const home = stack.use(await Home.make());
  await home.useBrowser();
  const port = freePort();
  const login = `http://login.localhost:${port}/.culvert`;
  const provider = stack.use(
    await RealOidcProvider.start(`${login}/callback`, `${login}/signed-out`),
  );
  const services = {
    login: { host: `login.localhost:${port}` },
    providers: [{
      ...{ name: "corp", kind: "oidc", issuer: provider.issuer, clientId, clientSecret },
      scopes: ["openid", "email", "offline_access"],
    }],
    policies: [{ name: "staff", any: [{ emailDomain: "example.com" }, { token: "ci" }] }],
    services: [{
      ...{ name: "pg", hostnames: [`pg.localhost:${port}`], cluster: "dev", target: "pg" },
      ...{ kind: "tcp", policy: "staff" },
    }],
  };
  await Deno.writeTextFile(`${home.path}/services.json`, JSON.stringify(services));
  const token = "access-tcp-agent-token-0123456789";
  const callers = [{ name: "ci", token: "token-of-the-ci-job", clusters: ["*"] }];
  const relay = stack.use(
    await startRelay({
      clusters: [{ id: "dev", token, targetAddr: "pg" }],
      args: [
        ...["-web-addr", `127.0.0.1:${port}`, "-services", `${home.path}/services.json`],
        ...["-caller-tokens", JSON.stringify(callers)],
      ],
    }),
  );
  const address = `127.0.0.1:${echo.addr.port}`;
  const targets = { targets: [{ name: "pg", address, kind: "tcp" }] };
  await Deno.writeTextFile(`${home.path}/targets.json`, JSON.stringify(targets));
  stack.use(
    await startAgent({
      ...{ relayUrl: relay.connectUrl, token },
      args: ["-targets", `${home.path}/targets.json`],
    }),
  );
  await relay.waitForAgent("dev");
  const pg = `http://pg.localhost:${port}`;
  const args = ["tcp", pg, "--listen", "127.0.0.1:0"];

  const access = stack.use(await signingIn(args, home));
  const { message } = await access.waitForLog(({ message }) => message.startsWith("Listening"));
  const connection = await Deno.connect({ port: Number(/:(\d+) for/.exec(message)![1]) });
  stack.defer(() => connection.close());
  await connection.write(new TextEncoder().encode("hello"));
  const bytes = new Uint8Array(16);
  assert.equal(await within(connection.read(bytes), "the echo"), 5);
  const { code, stderr } = await runProgram("access.ts", ["logout", pg], home.env);
  assert.equal(code, 0, stderr);
  const ended = connection.read(bytes).catch(() => null);
  assert.equal(await within(ended, "the end of the connection"), null);
  await access.waitForLog(({ message }) =>
    /a connection ended early: the access was withdrawn/.test(message)
  );

  // A program with a token of its own never opens a browser.
  const before = (await home.opened()).length;
  const env = { ...home.env, CULVERT_TOKEN: "token-of-the-ci-job" };
  await using program = Program.start("access.ts", args, env);
  await program.waitForLog(({ message }) => message.startsWith("Listening"));
  assert.equal((await home.opened()).length, before);
});
