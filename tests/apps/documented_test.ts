/**
 * The walks of docs/services.md and docs/tcp.md, typed word by word in a clean clone, with the ports that
 * they name: they run in a network of their own.
 */
import { equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { withFolder } from "../support/certificates.ts";
import { blocks } from "../docs/markdown.ts";
import { canMakeNetworks, Network, type Terminal } from "./terminals.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

if (!canMakeNetworks) console.error("SKIPPED: the documented walks need root, to make a network");

/** The `sh` blocks of a page between two of its headings. */
function walk(page: string, from: string, count: number): readonly string[] {
  const shown = blocks(page).filter(({ info }) => info === "sh").map(({ text }) => text);
  const first = shown.findIndex((text) => text.includes(from));
  ok(first >= 0, `${page} has no block with ${from}`);
  return shown.slice(first, first + count);
}

/** What a user has after `git clone`: nothing that is not in the repository, as it is now. */
async function clone(folder: string): Promise<string> {
  const script = `git -C "$1" ls-files -z | tar -C "$1" --null -T - -cf - | tar -xf - -C "$2"`;
  await Deno.mkdir(`${folder}/clone`);
  const { code, stderr } = await new Deno.Command("bash", {
    args: ["-c", script, "bash", root, `${folder}/clone`],
  }).output();
  equal(code, 0, new TextDecoder().decode(stderr));
  return `${folder}/clone`;
}

/** Waits until something listens on a port of the shell's network. */
async function listens(terminal: Terminal, port: number): Promise<void> {
  await terminal.run(
    `until (exec 3<>/dev/tcp/127.0.0.1/${port}) 2> /dev/null; do sleep 0.1; done`,
  );
}

Deno.test({
  name: "docs/services.md: Prometheus at a hostname, from nothing",
  ignore: !canMakeNetworks,
  async fn() {
    const [files, relay, agent, ask] = walk("docs/services.md", "prometheus.localhost", 4);
    await withFolder(async (folder) => {
      const cwd = await clone(folder);
      await using stack = new AsyncDisposableStack();
      const network = stack.use(await Network.open());
      const open = () => stack.use(network.terminal(cwd));
      const prometheus = open();
      await prometheus.type(
        `echo '{}' > ${folder}/prometheus.yml; prometheus --config.file=${folder}/prometheus.yml ` +
          `--storage.tsdb.path=${folder}/data --web.listen-address=127.0.0.1:9090`,
      );
      await prometheus.shows(/ready to receive web requests/i);
      const first = open();
      await first.run(files!);
      await first.type(relay!);
      await first.shows('policy: \\"public\\" lets everybody in');
      await first.shows('"listener":"web"');
      const second = open();
      await second.type(agent!);
      await second.shows("Connected to relay");
      const third = open();
      match(await third.run(ask!), /Prometheus(?: Server)? is Ready/);
      const browser = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((it) => existsSync(it));
      const flags =
        `--headless --no-sandbox --disable-dev-shm-usage --user-data-dir=${folder}/browser`;
      const page = await third.run(
        `${browser} ${flags} --virtual-time-budget=10000 --dump-dom ` +
          "http://prometheus.localhost:8444/ 2> /dev/null",
      );
      match(page, /<title>[^<]*Prometheus/);
    });
  },
});

/** Servers at the ports that the page assumes. */
const servers = {
  redis: "redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no",
  postgres: `
install -d -o postgres -m 700 "$FOLDER/data"
PG=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
runuser -u postgres -- "$PG/initdb" -D "$FOLDER/data" -A trust -U app -N > /dev/null
exec runuser -u postgres -- "$PG/postgres" -D "$FOLDER/data" -p 5432 -h 127.0.0.1 -k "$FOLDER/data" -F`,
  sshd: `
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/host"
exec /usr/sbin/sshd -D -f /dev/null -o Port=22 -o ListenAddress=127.0.0.1 -o HostKey="$FOLDER/host" \\
  -o AuthorizedKeysFile="$FOLDER/.ssh/id_ed25519.pub" -o StrictModes=no -o UsePAM=no \\
  -o PermitRootLogin=yes -o PidFile="$FOLDER/sshd.pid"`,
};

/** A user's home: a key, and hosts that are taken when they are first met. */
const home = `
mkdir -m 700 "$FOLDER/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/.ssh/id_ed25519"`;

Deno.test({
  name: "docs/tcp.md: psql, redis-cli and ssh, from nothing",
  ignore: !canMakeNetworks,
  async fn() {
    const [files, relay, agent, ports, clients, ssh] = walk("docs/tcp.md", "cache.localhost", 6);
    await withFolder(async (folder) => {
      await Deno.chmod(folder, 0o755);
      const cwd = await clone(folder);
      await using stack = new AsyncDisposableStack();
      const network = stack.use(await Network.open());
      const open = () => stack.use(network.terminal(cwd, { FOLDER: folder }));
      const first = open();
      await first.run(home);
      for (const command of Object.values(servers)) await open().type(command);
      for (const port of [5432, 6379, 22]) await listens(first, port);
      await first.type(files! + relay!);
      await first.shows('"listener":"web"');
      const second = open();
      await second.type(agent!);
      await second.shows("Connected to relay");
      const third = open();
      for (const line of ports!.trimEnd().split("\n")) await third.type(line);
      for (const port of [15432, 16379]) await listens(third, port);
      const [psql, ...others] = clients!.trimEnd().split("\n");
      match(await third.run(`${psql} <<< 'select 6 * 7 as answer'`), /\n\s*42\n/);
      match(await third.run(others.join("\n")), /PONG/);
      // The first time, ssh asks whether the host's key is the right one.
      const asked = ssh!.trimEnd().replace(
        /^ssh /,
        `ssh -F none -i ${folder}/.ssh/id_ed25519 -o UserKnownHostsFile=${folder}/known ` +
          "-o StrictHostKeyChecking=accept-new ",
      );
      match(await third.run(`${asked} 'echo "it is $(id -un)"' < /dev/null`), /it is root/);
    });
  },
});
