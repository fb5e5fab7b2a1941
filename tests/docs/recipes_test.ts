/** The recipes' configurations work as they stand there, with the programs that they are for. */
import assert from "node:assert/strict";
import { connect } from "node:tls";
import { once } from "node:events";
import { eventually } from "../support/deadline.ts";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { RawConnection, splitAddress } from "../support/raw_connection.ts";
import { fieldValues, readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { answering, refusingAddress, startRawTarget } from "../support/target.ts";
import { blocks } from "./markdown.ts";

const page = "docs/recipes.md";
const hostName = "relay.example.com";

/** The first block of a language that has a text in it. */
function block(info: string, text: string): string {
  const found = blocks(page).find((block) => block.info === info && block.text.includes(text));
  assert.ok(found, text);
  return found.text;
}

function isInstalled(program: string, ...args: readonly string[]): boolean {
  try {
    return new Deno.Command(program, { args: [...args], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** nginx with the page's configuration, on a port of its own; dispose it. */
async function startNginx(
  folder: string,
  { certPath, keyPath }: KeyPairFiles,
  relay: { readonly publicAddress: string; readonly internalAddress: string },
): Promise<AsyncDisposable & { readonly address: string }> {
  const address = await refusingAddress();
  const server = block("nginx", "location = /connect")
    .replace("listen 443", `listen ${address}`)
    .replace(`/etc/nginx/${hostName}.crt`, certPath)
    .replace(`/etc/nginx/${hostName}.key`, keyPath)
    .replace("127.0.0.1:8443", relay.publicAddress)
    .replace("127.0.0.1:8080", relay.internalAddress);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
  const main = `daemon off; master_process off; pid ${folder}/pid; events {}
    http { access_log off; ${temporary} ${server} }`;
  await Deno.writeTextFile(`${folder}/nginx.conf`, main);
  const args = ["-p", folder, "-c", `${folder}/nginx.conf`, "-e", `${folder}/errors`];
  const child = new Deno.Command("nginx", { args, stdout: "null", stderr: "null" }).spawn();
  await eventually(() => accepts(address), () => Deno.readTextFileSync(`${folder}/errors`));
  return {
    address,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}

async function accepts(address: string): Promise<boolean> {
  const { host, port } = splitAddress(address);
  try {
    (await Deno.connect({ hostname: host, port })).close();
    return true;
  } catch {
    return false;
  }
}

/** A caller's connection through the proxy. */
async function openTls(address: string, caPath: string): Promise<RawConnection> {
  const { host, port } = splitAddress(address);
  const ca = await Deno.readTextFile(caPath);
  const socket = connect({ host, port, ca, servername: hostName });
  await once(socket, "secureConnect");
  return new RawConnection(socket);
}

Deno.test({
  name: "recipes.md: agents and callers reach a relay behind nginx as if it was not there",
  ignore: !isInstalled("nginx", "-v"),
  fn: () =>
    withFolder(async (folder) => {
      const continued = Promise.withResolvers<void>();
      await using target = await startRawTarget(answering(async (request, connection) => {
        const path = request.startLine.split(" ")[1]!;
        if (path === "/exec") {
          await connection.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
          );
          const bytes = await connection.reader.readExactly(4);
          await connection.write(bytes);
          return;
        }
        if (path === "/watch") {
          await connection.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n",
          );
          await continued.promise;
          return "7\r\nsecond\n\r\n0\r\n\r\n";
        }
        const text = `${path} ${request.body.length}`;
        return `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
      }));
      const clusters = [{ id: "dev", token: "agent-token-0123456789", targetAddr: target.address }];
      const caller = "caller-token-0123456789";
      const callers = JSON.stringify([{ name: "me", token: caller, clusters: ["dev"] }]);
      await using relay = await startRelay({
        clusters,
        args: ["--caller-tokens", callers, "--hosts", hostName],
      });
      const authority = await Authority.create(folder, "nginx");
      const pair = await authority.issue("relay", `DNS:${hostName},IP:127.0.0.1`);
      await using nginx = await startNginx(folder, pair, relay);

      await using agent = await startAgent({
        relayUrl: `wss://${nginx.address}/connect`,
        token: clusters[0]!.token,
        target: target.address,
        args: ["--server-ca-cert", authority.caPath],
      });
      assert.ok(agent.logs.some(({ message }) => message === "Connected to relay"));

      const head = (method: string, path: string, ...more: readonly string[]): string =>
        [
          `${method} /tunnel/dev${path} HTTP/1.1`,
          `Host: ${hostName}`,
          `Authorization: Bearer ${caller}`,
          ...more,
          "\r\n",
        ].join("\r\n");

      await using plain = await openTls(nginx.address, authority.caPath);
      await plain.write(head("GET", "/a%2Fb//c/../d?x=1"));
      const answer = await readResponse(plain.reader);
      assert.equal(new TextDecoder().decode(answer.body), "/a%2Fb//c/../d?x=1 0");
      const size = 3_000_000;
      await plain.write(head("PUT", "/upload", `Content-Length: ${size}`));
      await plain.write(new Uint8Array(size));
      const uploaded = await readResponse(plain.reader, "PUT");
      assert.equal(new TextDecoder().decode(uploaded.body), `/upload ${size}`);

      await using watch = await openTls(nginx.address, authority.caPath);
      await watch.write(head("GET", "/watch"));
      assert.equal(statusOf(await readHead(watch.reader)), 200);
      const first = new TextDecoder().decode(await watch.reader.readUntil("first\n"));
      assert.ok(first.endsWith("first\n"), "the first event comes before the second is there");
      continued.resolve();
      await watch.reader.readUntil("second\n");

      await using exec = await openTls(nginx.address, authority.caPath);
      await exec.write(head("POST", "/exec", "Connection: Upgrade", "Upgrade: SPDY/3.1"));
      const upgraded = await readHead(exec.reader);
      assert.equal(statusOf(upgraded), 101);
      assert.deepEqual(fieldValues(upgraded, "Upgrade"), ["SPDY/3.1"]);
      await exec.write("ping");
      assert.equal(new TextDecoder().decode(await exec.reader.readExactly(4)), "ping");
    }),
});

Deno.test({
  name: "recipes.md: systemd accepts the units, and gives the programs the time that they may take",
  ignore: !isInstalled("systemd-analyze", "--version"),
  fn: () =>
    withFolder(async (folder) => {
      for (const program of ["relay", "agent"]) {
        // Any program that is there: systemd-analyze looks for it.
        const unit = block("ini", `Description=culvert ${program}`)
          .replace(`/usr/local/bin/culvert-${program}`, "/bin/true");
        const path = `${folder}/culvert-${program}.service`;
        await Deno.writeTextFile(path, unit);
        const args = ["verify", "--man=no", "--recursive-errors=no", path];
        const { success, stderr } = await new Deno.Command("systemd-analyze", { args }).output();
        const text = new TextDecoder().decode(stderr);
        assert.ok(success, text);
        assert.equal(text, "");
        const option = (name: string): number =>
          Number(
            new RegExp(`--${name} (\\d+)s`).exec(unit)?.[1] ??
              { "drain-delay": 0, grace: 30 }[name],
          );
        const stop = Number(/TimeoutStopSec=(\d+)/.exec(unit)?.[1]);
        assert.ok(stop > option("grace") + (program === "relay" ? option("drain-delay") : 0));
      }
    }),
});
