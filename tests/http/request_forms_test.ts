/**
 * What a request may look like before anything depends on its cluster: the forms of its target, its
 * host, its method, and what it says about the way that it has come.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { errorText } from "../support/error_body.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { startRawTarget } from "../support/target.ts";
import { record } from "./playing.ts";
import {
  CLUSTER,
  CREDENTIAL,
  graceArgs,
  requestHead,
  Scripts,
  TOKEN,
  type Tunnel,
  tunnelled,
  withTunnel,
} from "./tunnel.ts";
import { bodyText, statusOf, valuesOf, type WireMessage } from "./wire.ts";

/** Sends a request with this request line and these fields, and nothing else. */
function askFor(tunnel: Tunnel, line: string, ...fields: string[]): Promise<WireMessage> {
  return tunnel.ask([line, ...fields, "", ""].join("\r\n"));
}

Deno.test("a request target that is neither a path nor a URL is refused with 400", async (t) => {
  await withTunnel(async (tunnel) => {
    const inside = tunnelled("/x");
    const targets = [
      "abc/metrics",
      "metrics",
      "*",
      `x${inside}`,
      `ftp://h${inside}`,
      `http:${inside}`,
      `http:/h${inside}`,
      `http://${inside}`,
      `http://:80${inside}`,
      `http://user@h${inside}`,
      `http://user:word@h${inside}`,
      `http://@h${inside}`,
      `http://h:80:80${inside}`,
      `http://h,i${inside}`,
      `http://h\\i${inside}`,
      `?x=${inside}`,
      `${inside}#x`,
      `http://h${inside}?y#x`,
      `http://h:65536${inside}`,
      "h:443",
    ];
    for (const target of targets) {
      await tunnel.step(t, target, async () => {
        const answer = await askFor(tunnel, `GET ${target} HTTP/1.1`, "Host: h");
        equal(statusOf(answer), 400);
        match(bodyText(answer), /"message":"Request target/);
      });
    }
    equal(tunnel.target.connections.length, 0);
  });
});

Deno.test("a Host that is no host is refused with 400", async (t) => {
  await withTunnel(async (tunnel) => {
    const hosts = [
      "a b",
      "a/b",
      "a@b",
      "a,b",
      "a:b",
      "a:1:2",
      "a?b",
      "a#b",
      'a"b',
      "\xe4",
      "a%2",
      "[::1",
    ];
    for (const host of [...hosts, ":80", "http://a", "a:65536", "a:123456"]) {
      await tunnel.step(t, host, async () => {
        const answer = await askFor(tunnel, `GET ${tunnelled("/x")} HTTP/1.1`, `Host: ${host}`);
        equal(statusOf(answer), 400);
        match(bodyText(answer), /"message":"Host is malformed"/);
      });
    }
    const good = [
      "",
      "a",
      "A.example.:8080",
      "127.0.0.1:1",
      "[::1]:80",
      "a_b-c",
      "a:",
      "%41",
      "xn--a",
    ];
    for (const host of good) {
      await tunnel.step(t, `good: ${host}`, async () => {
        const answer = await askFor(tunnel, `GET ${tunnelled("/x")} HTTP/1.1`, `Host: ${host}`);
        equal(bodyText(answer), "GET /x");
      });
    }
  });
});

Deno.test("the host in a target in absolute form counts, and not the Host field", async (t) => {
  await withTunnel(async (tunnel) => {
    const { relay } = tunnel;
    const url = (host: string) => `http://${host}${tunnelled("/absolute")}`;

    await tunnel.step(t, "for --hosts", async () => {
      const refused = await askFor(
        tunnel,
        `GET ${url("evil.example")} HTTP/1.1`,
        "Host: localhost",
      );
      equal(statusOf(refused), 421);
      const served = await askFor(tunnel, `GET ${url("localhost")} HTTP/1.1`, "Host: evil.example");
      equal(bodyText(served), "GET /absolute");
    });

    await tunnel.step(t, "for what the target is told", async () => {
      const requests = record(tunnel, "/absolute");
      for (
        const line of [`GET ${url("localhost:81")} HTTP/1.1`, `GET ${url("localhost:81")} HTTP/1.0`]
      ) {
        await askFor(tunnel, line, "Host: localhost");
      }
      deepEqual(requests.map((request) => valuesOf(request, "x-forwarded-host")), [
        ["localhost:81"],
        ["localhost:81"],
      ]);
      deepEqual(requests.map((request) => valuesOf(request, "host")), [
        [tunnel.target.address],
        [tunnel.target.address],
      ]);
    });

    await tunnel.step(t, "though the Host field must still be there, once", async () => {
      equal(statusOf(await askFor(tunnel, `GET ${url("localhost")} HTTP/1.1`)), 400);
      const twice = ["Host: localhost", "Host: localhost"];
      equal(statusOf(await askFor(tunnel, `GET ${url("localhost")} HTTP/1.1`, ...twice)), 400);
    });

    await relay.waitForLog(({ path, status }) => path === "/absolute" && status === 421);
  }, { relayArgs: ["-hosts", "relay.example"] });
});

Deno.test("methods that a target answers with the request itself are refused", async (t) => {
  await withTunnel(async (tunnel) => {
    tunnel.scripts.otherwise = async ({ connection, request }) => {
      const { startLine, fields } = await request();
      const echo = [startLine, ...fields.map(([name, value]) => `${name}: ${value}`)].join("\n");
      const length = `Content-Length: ${echo.length}`;
      await connection.write(`HTTP/1.1 200 OK\r\n${length}\r\n\r\n${echo}`);
    };
    for (const method of ["TRACE", "TRACK", "trace", "Track"]) {
      await tunnel.step(t, method, async () => {
        const answer = await tunnel.ask(requestHead(method, tunnelled("/")));
        equal(statusOf(answer), 405);
        deepEqual(valuesOf(answer, "allow"), ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
        ok(!bodyText(answer).includes(CREDENTIAL));
      });
    }
    equal(tunnel.target.connections.length, 0);
  });
});

Deno.test("Via names the relay to the target, and ends a request that comes back", async (t) => {
  await withTunnel(async (tunnel) => {
    let own = "";
    await tunnel.step(t, "behind those who were on the way before", async () => {
      const requests = record(tunnel, "/via");
      await tunnel.ask(requestHead("GET", tunnelled("/via"), ["Via: 1.0 a, 1.1 b (c)"]));
      await askFor(tunnel, `GET ${tunnelled("/via")} HTTP/1.0`);
      const [first, second] = requests.map((request) => valuesOf(request, "via"));
      own = first![1]!.slice("1.1 ".length);
      deepEqual([first, second], [["1.0 a, 1.1 b (c)", `1.1 ${own}`], [`1.0 ${own}`]]);
    });

    await tunnel.step(t, "a request that bears this relay's name is refused", async () => {
      for (const via of [`1.1 ${own}`, `1.0 a,1.1\t${own} (x) , 1.1 b`]) {
        const answer = await tunnel.ask(requestHead("GET", tunnelled("/x"), [`Via: ${via}`]));
        equal(statusOf(answer), 508);
        const told = "the request came back to the relay: " +
          "the cluster's target leads back to this relay";
        equal(bodyText(answer), errorText(508, "loop", told));
      }
      const similar = [`Via: 1.1 ${own}0`, `Via: 1.1 x (${own})`];
      equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/x"), similar))), "GET /x");
    });

    await tunnel.step(t, "and one that has been through more than 16 others", async () => {
      const through = (count: number) => Array.from({ length: count }, () => "Via: 1.1 a");
      const most = await tunnel.ask(requestHead("GET", tunnelled("/x"), through(16)));
      equal(bodyText(most), "GET /x");
      const more = await tunnel.ask(requestHead("GET", tunnelled("/x"), through(17)));
      equal(statusOf(more), 508);
      match(bodyText(more), /"code":"too_many_hops"/);
    });
  });
});

Deno.test("a cluster whose target is the relay itself gets 508 and no endless circle", async () => {
  const scripts = new Scripts();
  await using target = await startRawTarget((connection) => scripts.serve(connection));
  // A proxy in front of the relay that puts the cluster's path in front of everything.
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: target.address }],
    args: graceArgs,
  });
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: target.address,
    credential: CREDENTIAL,
    args: graceArgs,
  });
  await relay.waitForAgent(CLUSTER);
  let passes = 0;
  scripts.otherwise = async ({ connection, request }) => {
    passes++;
    const { fields } = await request();
    const headers = fields.filter(([name]) => name !== "Host").map((
      [name, value],
    ) => [name, value]);
    const again = await fetch(`http://${relay.internalAddress}/tunnel/${CLUSTER}/`, { headers });
    const text = await again.text();
    const head = `HTTP/1.1 ${again.status} Again\r\nContent-Length: ${text.length}\r\n\r\n`;
    await connection.write(head + text);
  };
  const answer = await fetch(`http://${relay.internalAddress}/tunnel/${CLUSTER}/`);
  deepEqual([answer.status, passes], [508, 1]);
  match(await answer.text(), /"code":"loop"/);
});

Deno.test("OPTIONS goes as far as its Max-Forwards allows", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "0 is answered by the relay", async () => {
      const answer = await tunnel.ask(
        requestHead("OPTIONS", tunnelled("/x"), ["Max-Forwards: 0"]),
      );
      equal(statusOf(answer), 200);
      deepEqual(valuesOf(answer, "allow"), ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
      equal(tunnel.target.connections.length, 0);
    });
    await tunnel.step(t, "more is counted down", async () => {
      const requests = record(tunnel, "/forwards");
      for (const value of ["1", "10", "x"]) {
        const fields = [`max-forwards: ${value}`];
        await tunnel.ask(requestHead("OPTIONS", tunnelled("/forwards"), fields));
      }
      const sent = requests.map((request) => valuesOf(request, "max-forwards"));
      deepEqual(sent, [["0"], ["9"], ["x"]]);
    });
    await tunnel.step(t, "and limits no other method", async () => {
      const requests = record(tunnel, "/get");
      await tunnel.ask(requestHead("GET", tunnelled("/get"), ["Max-Forwards: 0"]));
      deepEqual(valuesOf(requests[0]!, "max-forwards"), ["0"]);
    });
  });
});

Deno.test("every answer has a Date, and a target's own is kept", async (t) => {
  await withTunnel(async (tunnel) => {
    const targets = ["/healthz", "/nothing", tunnelled("/x"), "/tunnel/nobody/", "bad"];
    for (const target of targets) {
      await tunnel.step(t, target, async () => {
        const before = Math.floor(Date.now() / 1_000) * 1_000;
        const answer = await tunnel.ask(requestHead("GET", target));
        const [date, ...more] = valuesOf(answer, "date");
        deepEqual(more, []);
        match(date ?? "", /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
        const ms = Date.parse(date!);
        ok(ms >= before && ms <= Date.now(), `${date} must be the time of now`);
      });
    }
  });
});
