/** A listener that accepts nothing any more is noticed, and opened anew. */
import { equal, ok } from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { ListenerMonitor } from "../../lib/runtime/node/listener/listener_monitor.ts";
import { eventually, within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readResponse } from "../support/raw_http.ts";

interface Setup {
  readonly monitor: ListenerMonitor;
  readonly bound: { readonly hostname: string; readonly port: number };
  /** Waits until the listener has accepted something, and tells nobody. */
  accepted(): Promise<Socket>;
}

async function withListener(use: (setup: Setup) => Promise<void> | void): Promise<void> {
  const server = createServer((socket) => socket.on("error", () => {}).resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const bound = { hostname: "127.0.0.1", port };
  const monitor = new ListenerMonitor(bound);
  try {
    const accepted = async () => (await within(once(server, "connection"), "a call"))[0];
    await use({ monitor, accepted, bound });
  } finally {
    monitor.close();
    server.close();
    await once(server, "close");
  }
}

function isOwn(monitor: ListenerMonitor, accepted: Socket): Promise<boolean> {
  return new Promise((resolve) => monitor.identify(accepted, resolve));
}

Deno.test("ListenerMonitor knows its call while that is under way, and nobody else by its port", async () => {
  await withListener(async ({ monitor, accepted }) => {
    const called = accepted();
    for (let look = 1; look <= 6; look++) monitor.look();
    const call = await called;
    const stranger = { ...ends(call), remoteAddress: "127.0.0.2" };
    equal(await isOwn(monitor, stranger as Socket), false, "the same port of another address");
    equal(await isOwn(monitor, { ...ends(call), remotePort: 1 } as Socket), false, "another port");
    equal(await isOwn(monitor, call), true);
    monitor.accepted();
    monitor.look();
    equal(await isOwn(monitor, call), false, "the port, once the call has ended");
  });
});

function ends({ remoteAddress, remotePort, localAddress }: Socket) {
  return { remoteAddress, remotePort, localAddress };
}

Deno.test("ListenerMonitor tells of a listener that does not hear its call", async () => {
  await withListener(async ({ monitor, accepted }) => {
    const called = accepted();
    for (let look = 1; look <= 6; look++) equal(monitor.look(), false, `look ${look}`);
    const heard = await called;
    ok(await isOwn(monitor, heard), "the call is known as the monitor's own");
    for (let look = 7; look <= 8; look++) equal(monitor.look(), false, `look ${look}`);
    equal(monitor.look(), true);
  });
});

Deno.test("ListenerMonitor says nothing of a listener that no call has ever reached", async () => {
  await withListener(({ monitor }) => {
    // All in one turn: no connection can be made meanwhile.
    for (let look = 1; look <= 40; look++) equal(monitor.look(), false, `look ${look}`);
  });
});

Deno.test("ListenerMonitor calls a quiet listener again and again, and lets one that hears alone", async () => {
  await withListener(async ({ monitor, accepted }) => {
    for (let call = 1; call <= 3; call++) {
      const called = accepted();
      for (let look = 1; look <= 6; look++) equal(monitor.look(), false, `call ${call}`);
      await called;
      monitor.accepted();
    }
  });
});

/** Looks until the next call has been taken up, each look after a turn of the event loop. */
async function lookOnce(monitor: ListenerMonitor): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return monitor.look();
}

Deno.test("ListenerMonitor of a shared address knows the calls of all that share it", async () => {
  await withListener(async ({ accepted, bound }) => {
    const [one, other] = [new ListenerMonitor(bound, 2), new ListenerMonitor(bound, 2)];
    try {
      const called = accepted();
      for (let look = 1; look <= 6; look++) one.look();
      const call = await called;
      equal(await isOwn(one, call), true);
      equal(await isOwn(other, call), true);
      const caller = { ...ends(call), remoteAddress: "127.0.0.1" };
      equal(await isOwn(one, caller as Socket), false);
    } finally {
      one.close();
      other.close();
    }
  });
});

Deno.test("ListenerMonitor of a shared address tells only of many calls that nobody hears", async () => {
  await withListener(async ({ accepted, bound }) => {
    const monitor = new ListenerMonitor(bound, 2);
    try {
      const called = accepted();
      let looks = 1;
      while (!await lookOnce(monitor)) looks++;
      await called;
      // 12 calls for each of two processes, of three looks each.
      ok(looks > 2 * 12 * 3, String(looks));
    } finally {
      monitor.close();
    }
  });
});

const request = "GET / HTTP/1.1\r\nHost: relay\r\n\r\n";

async function ask(connection: RawConnection): Promise<string> {
  await connection.write(request);
  const { body } = await within(readResponse(connection.reader), "an answer");
  return new TextDecoder().decode(body);
}

/**
 * Deno's accept fails once when there are no descriptors left, and is never tried again: the program
 * ran, its port was open, and whoever connected waited for ever.
 */
/** Whether there is a listener. */
async function accepts(address: string): Promise<boolean> {
  try {
    await using _connection = await openConnection(address);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== "ECONNREFUSED") throw error;
    return false;
  }
}

/** A process started here can inherit descriptors of other tests, and would have none left. */
const withFewDescriptors = `
for path in /proc/$$/fd/*; do
  fd=\${path##*/}
  [ "$fd" -le 2 ] || eval "exec $fd>&-"
done
ulimit -n 64
exec "$0" run -A "$1"
`;

Deno.test("HttpServer accepts again after the process has run out of file descriptors", async () => {
  const fixture = new URL("few_descriptors.ts", import.meta.url).pathname;
  const child = new Deno.Command("bash", {
    args: ["-c", withFewDescriptors, Deno.execPath(), fixture],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: string[] = [];
  const reading = (async () => {
    let text = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      lines.splice(0, lines.length, ...text.split("\n").slice(0, -1));
    }
  })();
  try {
    await eventually(() => lines.length > 0, "the port");
    const address = `127.0.0.1:${lines[0]}`;
    {
      // The system takes them all, into its queue; the process takes as many as it can.
      const all = await Promise.all(Array.from({ length: 100 }, () => openConnection(address)));
      await using connections = new AsyncDisposableStack();
      for (const connection of all) connections.use(connection);
      // While there is an answer in each turn, accepting goes on until it fails.
      await eventually(async () => await ask(all[0]!) === "none", "the last descriptor");
      for (let turn = 0; turn < 10; turn++) equal(await ask(all[0]!), "none");
    }
    await eventually(() => lines.includes("opened anew"), "the listener to be opened anew");
    // It says so as it begins with that.
    await eventually(() => accepts(address), "the port to be open again");
    await using connection = await openConnection(address);
    equal(await ask(connection), "some");
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await reading;
  }
});
