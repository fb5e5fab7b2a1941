/** What is open ends once it could not begin any more, whatever it was that let it in. */
import { equal } from "node:assert/strict";
import { servicesFile, startTcpTarget, withWorld } from "../access/tcp_world.ts";
import { within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { startWebRelay, token } from "./setup.ts";

/** Begins each answer and never ends it. */
const endless = answering(() => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir");

const policies = [{ name: "nobody", any: [{ address: "192.0.2.0/24" }] }];

function fileOf(target: string, service: object, more: object = {}): string {
  const app = { name: "app", hostnames: ["app.test"], cluster: "dev", target, ...service };
  return JSON.stringify({ services: [app], ...more });
}

async function begin(address: string, host: string, path: string): Promise<RawConnection> {
  const connection = await openConnection(address);
  await connection.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  equal(statusOf(await within(readHead(connection.reader), "the head of what is open")), 200);
  return connection;
}

Deno.test("requests end that began before there was any policy, or a path that nobody may use now", async (t) => {
  await using target = await startRawTarget(endless);
  const services = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(services, fileOf(target.address, { policy: "public" }));
  const clusters = await Deno.makeTempFile({ suffix: ".json" });
  const entry = { id: "dev", token, targetAddr: target.address };
  await Deno.writeTextFile(clusters, JSON.stringify([entry]));
  const { relay, webAddress } = await startWebRelay(services, { args: ["-clusters", clusters] });
  await using _relay = relay;
  await using _agent = await startAgent({
    ...{ relayUrl: relay.connectUrl, token, target: target.address },
  });
  await relay.waitForAgent("dev");

  let reloads = 0;
  const reload = async (text: string) => {
    await Deno.writeTextFile(services, text);
    await relay.waitForLogs(
      ++reloads,
      ({ message, source }) => message === "Configuration reloaded" && source === "services",
    );
  };

  await t.step("an entry gets the first policy", async () => {
    const { internalAddress: address } = relay;
    await using connection = await begin(address, address, "/tunnel/dev/watch");
    await reload(fileOf(target.address, { policy: "public" }, { policies }));
    await Deno.writeTextFile(clusters, JSON.stringify([{ ...entry, callerPolicy: "nobody" }]));
    await within(connection.closed, "the end of what the policy does not let in");
  });

  await t.step("a path is not for everybody any more", async () => {
    const anonymousPaths = ["/public/"];
    const more = { policies };
    const guarded = { policy: "nobody" };
    await reload(fileOf(target.address, { ...guarded, anonymousPaths }, more));
    await using stays = await begin(webAddress, "app.test", "/public/stays");
    await using connection = await begin(webAddress, "app.test", "/public/events/x");
    const narrower = { ...guarded, anonymousPaths: ["/public/stays"] };
    await reload(fileOf(target.address, narrower, more));
    await within(connection.closed, "the end of what is not for everybody");
    await Deno.writeTextFile(services, fileOf(target.address, guarded, more));
    await within(stays.closed, "the end of the rest");
    const ends = await relay.waitForLogs(2, ({ path }) => String(path).startsWith("/public/"));
    equal(ends[0]!.path, "/public/events/x");
  });
});

Deno.test("connections end whose address `allow` does not list any more", async (t) => {
  await using target = await startTcpTarget();
  const options = (allow: readonly string[]) => ({
    targets: { port: target.address },
    services: { port: { listen: "127.0.0.1:0", allow } },
  });
  await withWorld(options(["127.0.0.1/32"]), async ({ relay, folder, access }) => {
    const { address } = await relay.waitForLog(({ listener }) => listener === "service");
    await using client = await access("port");
    const echoed = async (hostname: string) => {
      const [, port] = hostname.split(":");
      const conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
      await conn.write(new Uint8Array([1]));
      equal(await conn.read(new Uint8Array(1)), 1);
      return conn;
    };
    using direct = await echoed(String(address));
    using helped = await echoed(`:${client.port}`);
    await Deno.writeTextFile(`${folder}/services.json`, servicesFile(options(["192.0.2.1/32"])));
    for (const [name, conn] of Object.entries({ direct, helped })) {
      await t.step(name, async () => {
        const end = await within(conn.read(new Uint8Array(1)).catch(() => null), "the end");
        equal(end, null);
      });
    }
  });
});
