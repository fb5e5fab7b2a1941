/**
 * Real clients and servers through `access`: redis-cli, psql and ssh. They need the Debian packages
 * redis-server, redis-tools, postgresql, openssh-server and openssh-client.
 */
import { equal, match, ok } from "node:assert/strict";
import { withFolder } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { Program } from "../support/programs.ts";
import { withWorld, type World } from "../access/tcp_world.ts";
import { freePort } from "../support/free_port.ts";

const isRoot = Deno.uid() === 0;

interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string; cwd?: string } = {},
): Promise<Output> {
  const { env = {}, input = "", cwd } = options;
  const child = new Deno.Command(command, {
    args: [...args],
    env,
    ...cwd !== undefined && { cwd },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A program that reads nothing may have ended.
  const writing = writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(
    () => {},
  );
  const { code, stdout, stderr } = await within(child.output(), command, 120_000);
  await writing;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs a command that must work. */
async function must(...call: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...call);
  equal(code, 0, `${call[0]}: ${stdout}${stderr}`);
  return stdout;
}

/** Starts a server, and waits until it takes connections. */
async function startServer(command: string, args: readonly string[], port: number) {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await eventually(() => isListening(port), `${command} to listen`, 60_000);
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await within(child.status, `${command} to stop`, 60_000);
    },
  };
}

async function isListening(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test("redis-cli works through access: commands, pipelines, a large value and a subscription", async () => {
  const port = freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  await using _redis = await startServer("redis-server", args, port);
  await withWorld({ targets: { cache: `127.0.0.1:${port}` } }, async (world) => {
    await using client = await world.access("cache");
    const cli = ["-h", "127.0.0.1", "-p", `${client.port}`];
    equal((await must("redis-cli", [...cli, "ping"])).trim(), "PONG");
    const value = "x".repeat(8 * 1024 * 1024);
    equal((await must("redis-cli", [...cli, "-x", "set", "large"], { input: value })).trim(), "OK");
    equal((await must("redis-cli", [...cli, "strlen", "large"])).trim(), String(value.length));
    const lines = Array.from({ length: 2_000 }, (_, index) => `set key:${index} ${index}`);
    const piped = await must("redis-cli", cli, { input: `${lines.join("\n")}\ndbsize\n` });
    equal(piped.trimEnd().split("\n").at(-1), "2001");
    const subscriber = new Deno.Command("redis-cli", {
      args: [...cli, "subscribe", "news"],
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const seen = subscriber.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await within(seen.read(), "the subscription")).value ?? "";
    await must("redis-cli", [...cli, "publish", "news", "hello"]);
    while (!text.includes("hello")) text += (await within(seen.read(), "the message")).value ?? "";
    subscriber.kill("SIGTERM");
    await seen.cancel();
    await subscriber.status;
  });
});

/** Where Debian has the server's programs, which are not in PATH. */
function postgresFolder(): string {
  const versions = [...Deno.readDirSync("/usr/lib/postgresql")].map(({ name }) => name);
  return `/usr/lib/postgresql/${versions.sort().at(-1)}/bin`;
}

/** PostgreSQL refuses to run as root. */
async function asPostgres(command: string, args: readonly string[], cwd: string): Promise<string> {
  if (!isRoot) return await must(command, args, { cwd });
  return await must("runuser", ["-u", "postgres", "--", command, ...args], { cwd });
}

Deno.test("psql works through access: queries, a copy of a million rows, and a cancelled one", async () => {
  await withFolder(async (folder) => {
    const bin = postgresFolder();
    await Deno.chmod(folder, 0o755);
    const data = `${folder}/data`;
    await Deno.mkdir(data);
    if (isRoot) await must("chown", ["postgres", data]);
    await asPostgres(`${bin}/initdb`, ["-D", data, "-A", "trust", "-U", "app", "-N"], data);
    const port = freePort();
    const settings = `-p ${port} -h 127.0.0.1 -k ${data} -F`;
    const control = ["-D", data, "-l", `${data}/log`, "-w", "-o", settings];
    await asPostgres(`${bin}/pg_ctl`, [...control, "start"], data);
    try {
      await withWorld({ targets: { pg: `127.0.0.1:${port}` } }, async (world) => {
        await using client = await world.access("pg");
        const psql = (...args: string[]) =>
          run("psql", [
            ...["-h", "127.0.0.1", "-p", `${client.port}`, "-U", "app", "-d", "postgres"],
            ...["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", ...args],
          ]);
        equal((await psql("-c", "select 6 * 7")).stdout.trim(), "42");
        const table = "create table numbers as select generate_series(1, 1000000) as n";
        equal((await psql("-c", table)).code, 0);
        const copied = await psql("-c", "copy numbers to stdout");
        equal(copied.stdout.trimEnd().split("\n").length, 1_000_000);
        const sum = await psql("-c", "select sum(n) from numbers");
        equal(sum.stdout.trim(), "500000500000");
        const late = await psql("-c", "set statement_timeout = 100; select pg_sleep(60)");
        match(late.stderr, /canceling statement due to statement timeout/);
      });
    } finally {
      await asPostgres(`${bin}/pg_ctl`, ["-D", data, "-m", "fast", "-w", "stop"], data);
    }
  });
});

/** `access tcp URL --stdio`, as a shell runs it. */
function proxyCommand({ url }: World): string {
  const program = new URL("../../access.ts", import.meta.url).pathname;
  const deno = `${Deno.execPath()} run --allow-net --allow-read --allow-env`;
  return `${deno} ${program} tcp ${url("ssh")} --stdio`;
}

async function startSshd(folder: string) {
  await must("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${folder}/host`]);
  await must("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${folder}/user`]);
  await Deno.copyFile(`${folder}/user.pub`, `${folder}/authorized_keys`);
  const port = freePort();
  const config = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${folder}/host`,
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    `PidFile ${folder}/sshd.pid`,
    "PasswordAuthentication no",
    "PermitRootLogin yes",
    "StrictModes no",
    "UsePAM no",
  ];
  await Deno.writeTextFile(`${folder}/sshd_config`, `${config.join("\n")}\n`);
  // Its privilege separation wants this folder, which a service unit makes elsewhere.
  if (isRoot) await Deno.mkdir("/run/sshd", { recursive: true });
  const server = await startServer("/usr/sbin/sshd", ["-D", "-f", `${folder}/sshd_config`], port);
  const hostKey = (await Deno.readTextFile(`${folder}/host.pub`)).split(" ").slice(0, 2).join(" ");
  await Deno.writeTextFile(`${folder}/known_hosts`, `ssh.internal ${hostKey}\n`);
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

Deno.test("ssh works through access as its ProxyCommand: commands, exit codes and large files", async () => {
  await withFolder(async (folder) => {
    await using sshd = await startSshd(folder);
    await withWorld({ targets: { ssh: sshd.address } }, async (world) => {
      const user = (await must("id", ["-un"])).trim();
      const ssh = (command: string, input = "") =>
        run("ssh", [
          ...["-F", "none", "-i", `${folder}/user`, "-o", "IdentitiesOnly=yes"],
          ...["-o", `UserKnownHostsFile=${folder}/known_hosts`, "-o", "BatchMode=yes"],
          ...["-o", `ProxyCommand=${proxyCommand(world)}`, `${user}@ssh.internal`, command],
        ], { input });
      const first = await ssh("echo hello; exit 7");
      equal(first.stdout, "hello\n", first.stderr);
      equal(first.code, 7);
      const text = "0123456789abcdef".repeat(512 * 1024);
      const echoed = await ssh("cat", text);
      ok(echoed.stdout === text, `${echoed.stdout.length} bytes came back: ${echoed.stderr}`);
    });
  });
});

Deno.test("several services in one process, each at its own port", async () => {
  const port = freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  await using _redis = await startServer("redis-server", args, port);
  const targets = { one: `127.0.0.1:${port}`, two: `127.0.0.1:${port}` };
  await withWorld({ targets }, async ({ url, folder }) => {
    const ports = [freePort(), freePort()];
    const entries = ["one", "two"].map((name, index) =>
      `  - service: ${url(name)}\n    listen: 127.0.0.1:${ports[index]}\n`
    );
    await Deno.writeTextFile(`${folder}/services.yaml`, `services:\n${entries.join("")}`);
    await using _access = Program.start("access.ts", ["tcp", "--file", `${folder}/services.yaml`]);
    for (const port of ports) {
      await eventually(() => isListening(port), "the port");
      equal((await must("redis-cli", ["-h", "127.0.0.1", "-p", `${port}`, "ping"])).trim(), "PONG");
    }
  });
});
