/** What the metrics of the running programs say of requests, streams and sessions that are known. */
import { equal, ok } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead } from "../support/raw_http.ts";
import denoJson from "../../deno.json" with { type: "json" };
import {
  answer,
  CLUSTER,
  okWith,
  requestHead,
  type Tunnel,
  tunnelled,
  withTunnel,
} from "../http/tunnel.ts";
import { bodyText, latin1, latin1Text, statusOf } from "../http/wire.ts";
import { holding, playing } from "../http/playing.ts";

/** Values by series, as `name{label="value"}`. */
type Samples = ReadonlyMap<string, number>;

async function scrape(address: string): Promise<Samples> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(samples.map((line) => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

/** Both programs' samples; no name of one's own metrics is one of the other's, but for a few. */
async function look({ relay, agent }: Tunnel): Promise<Samples> {
  return new Map([...await scrape(agent.healthAddress), ...await scrape(relay.internalAddress)]);
}

/** Waits until series have grown by as much as is said since `before`, and asserts that. */
async function untilGrown(
  tunnel: Tunnel,
  before: Samples,
  growth: Readonly<Record<string, number>>,
): Promise<void> {
  const wanted = JSON.stringify(growth);
  let found = "";
  const isThere = async (): Promise<boolean> => {
    const now = await look(tunnel);
    const grown = Object.keys(growth).map((series) => [
      series,
      (now.get(series) ?? 0) - (before.get(series) ?? 0),
    ]);
    found = JSON.stringify(Object.fromEntries(grown));
    return found === wanted;
  };
  await eventually(isThere, () => `${wanted}, not ${found}`);
}

const ofCluster = `{cluster="${CLUSTER}"}`;

Deno.test("the metrics of a request, of its stream, and of what becomes of it", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "an answer: counted by method and status, timed, its bytes", async () => {
      const before = await look(tunnel);
      const body = "x".repeat(10_000);
      tunnel.scripts.set("/long", answer(latin1Text(okWith(body))));
      equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/long")))), body);
      await untilGrown(tunnel, before, {
        [`proxy_requests_total{cluster="${CLUSTER}",method="GET",code="200"}`]: 1,
        [`proxy_request_duration_seconds_count${ofCluster}`]: 1,
        [`culvert_time_to_first_byte_seconds_count${ofCluster}`]: 1,
        agent_upstream_requests_total: 1,
        agent_upstream_idle_connections: 1,
        agent_upstream_errors_total: 0,
      });
      const after = await look(tunnel);
      const [received, sent] = ["in", "out"].map((direction) => {
        const series = `tunnel_bytes_total{direction="${direction}"}`;
        return after.get(series)! - before.get(series)!;
      });
      ok(received! > body.length && received! < 2 * body.length, `${received} bytes in`);
      ok(sent! > 0 && sent! < body.length, `${sent} bytes out`);
    });

    await tunnel.step(
      t,
      "a first byte that is waited for, and a last one even longer",
      async () => {
        const before = await look(tunnel);
        const hasHead = Promise.withResolvers<void>();
        tunnel.scripts.set("/slow", async ({ connection, request }) => {
          await request();
          await new Promise((resolve) => setTimeout(resolve, 60));
          await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
          // The relay has sent the first byte on when the caller has it.
          await hasHead.promise;
          await new Promise((resolve) => setTimeout(resolve, 60));
          await connection.write("ok");
        });
        await using caller = await tunnel.caller();
        await caller.write(requestHead("GET", tunnelled("/slow")));
        await within(caller.reader.readUntil("\r\n\r\n"), "the head");
        hasHead.resolve();
        const body = await within(caller.reader.readExactly(2), "the body");
        equal(new TextDecoder().decode(body), "ok");
        const count = `proxy_request_duration_seconds_count${ofCluster}`;
        await untilGrown(tunnel, before, { [count]: 1 });
        const after = await look(tunnel);
        const [first, last] = ["culvert_time_to_first_byte", "proxy_request_duration"].map(
          (name) => {
            const series = `${name}_seconds_sum${ofCluster}`;
            return after.get(series)! - before.get(series)!;
          },
        );
        ok(first! > 0.05 && last! > first! + 0.05, `${first} s, then ${last} s`);
      },
    );

    await tunnel.step(t, "a request while it is open, and one whose caller goes away", async () => {
      const before = await look(tunnel);
      const open = [
        `tunnel_active_connections${ofCluster}`,
        `culvert_open_streams${ofCluster}`,
        "agent_open_streams",
      ];
      const { caller } = await playing(tunnel, "/open", holding, async (caller) => {
        await caller.write(requestHead("GET", tunnelled("/open")));
      });
      await untilGrown(tunnel, before, Object.fromEntries(open.map((series) => [series, 1])));
      caller.destroy();
      await untilGrown(tunnel, before, {
        ...Object.fromEntries(open.map((series) => [series, 0])),
        [`proxy_aborted_requests_total${ofCluster}`]: 1,
      });
      await caller[Symbol.asyncDispose]();
    });

    await tunnel.step(t, "an upload that runs out of credit", async () => {
      const before = await look(tunnel);
      const goesOn = Promise.withResolvers<void>();
      tunnel.scripts.set("/stall", async ({ connection, request }) => {
        await goesOn.promise;
        await request();
        await connection.write(okWith("all"));
      });
      const body = "x".repeat(16 * 1024 * 1024);
      const fields = [`Content-Length: ${body.length}`];
      const asking = tunnel.ask(requestHead("PUT", tunnelled("/stall"), fields), body);
      const stalls = "tunnel_window_stalls_total";
      await eventually(
        async () => (await look(tunnel)).get(stalls)! > before.get(stalls)!,
        "a stall to be counted",
      );
      goesOn.resolve();
      equal(bodyText(await asking), "all");
    });

    await tunnel.step(t, "a request that fails at the target, by its code", async () => {
      const before = await look(tunnel);
      tunnel.scripts.set("/broken", answer("HTTP/9 what\r\n\r\n"));
      equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled("/broken")))), 502);
      await untilGrown(tunnel, before, {
        agent_upstream_errors_total: 1,
        'agent_upstream_errors_by_code_total{code="protocol"}': 1,
      });
    });

    await tunnel.step(t, "what is no request, by its status", async () => {
      const before = await look(tunnel);
      await using caller = await tunnel.caller();
      await caller.write(latin1("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"));
      await caller.reader.readToEnd();
      await untilGrown(tunnel, before, { 'proxy_refused_requests_total{reason="400"}': 1 });
    });
  });
});

Deno.test("the limits that a request meets are counted by the names of their options", async (t) => {
  const relayArgs = [
    ...["-max-streams", "1", "-max-body-bytes", "10", "-header-timeout", "1s"],
    ...["-response-timeout", "1s", "-idle-timeout", "1s"],
  ];
  await withTunnel(async (tunnel) => {
    const asked = (...fields: string[]) => () =>
      tunnel.ask(requestHead("POST", tunnelled("/x"), fields)).then(statusOf);
    tunnel.scripts.set("/held", holding);
    const cases: [limit: string, status: number, meet: () => Promise<number>][] = [
      ["max-header-bytes", 431, asked(`X: ${"y".repeat(70_000)}`)],
      ["max-body-bytes", 413, asked("Content-Length: 11")],
      ["header-timeout", 408, async () => {
        await using caller = await tunnel.caller();
        await caller.write("GET / HTTP/1.1\r\n");
        return statusOf(await tunnel.answerOn(caller));
      }],
      ["idle-timeout", 408, asked("Content-Length: 5")],
      [
        "response-timeout",
        504,
        async () => statusOf(await tunnel.ask(requestHead("GET", tunnelled("/held")))),
      ],
    ];
    for (const [limit, status, meet] of cases) {
      await tunnel.step(t, limit, async () => {
        const before = await look(tunnel);
        equal(await meet(), status);
        await untilGrown(tunnel, before, { [`culvert_limit_hits_total{limit="${limit}"}`]: 1 });
      });
    }

    await tunnel.step(t, "max-streams", async () => {
      const before = await look(tunnel);
      const { caller } = await playing(tunnel, "/only", holding, async (caller) => {
        await caller.write(requestHead("GET", tunnelled("/only")));
      });
      equal(await asked()(), 503);
      await untilGrown(tunnel, before, { 'culvert_limit_hits_total{limit="max-streams"}': 1 });
      await caller[Symbol.asyncDispose]();
    });
  }, { relayArgs });
});

Deno.test("the metrics of sessions: how many, how far away, and why they ended", async () => {
  await withTunnel(async (tunnel) => {
    const { relay, agent } = tunnel;
    const { version } = denoJson;
    const before = new Map<string, number>();
    await untilGrown(tunnel, before, {
      agents_connected: 2,
      'tunnel_sessions{version="2"}': 2,
      agent_connected: 1,
      agent_connections: 2,
      [`culvert_build_info{program="relay",version="${version}"}`]: 1,
      [`culvert_build_info{program="agent",version="${version}"}`]: 1,
    });
    const roundTrips = [`tunnel_round_trip_seconds${ofCluster}`, "agent_tunnel_round_trip_seconds"];
    await eventually(async () => {
      const samples = await look(tunnel);
      return roundTrips.every((series) => samples.get(series)! > 0);
    }, "round trips to be measured");

    await using stranger = await openConnection(relay.publicAddress);
    await stranger.write("GET /connect HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong\r\n\r\n");
    equal((await readHead(stranger.reader)).startLine.split(" ")[1], "401");
    const connected = await scrape(relay.internalAddress);
    equal(connected.get('auth_failures_total{endpoint="connect"}'), 1);

    equal(await agent.stop(), 0);
    await eventually(async () => {
      return (await scrape(relay.internalAddress)).get("agents_connected") === 0;
    }, "the sessions to end");
    const after = await scrape(relay.internalAddress);
    equal(after.get('tunnel_sessions{version="2"}') ?? 0, 0);
    equal(after.get('tunnel_sessions_ended_total{code="1001"}'), 2);
    equal(after.get('culvert_session_ends_total{reason="going_away"}'), 2);
    equal(after.has(roundTrips[0]!), false, "nobody is there who could be far away");
    // What ended sessions have carried is not forgotten.
    const bytes = ["in", "out"].map((direction) => `tunnel_bytes_total{direction="${direction}"}`);
    for (const series of bytes) {
      ok(after.get(series)! > 0 && after.get(series)! >= connected.get(series)!, series);
    }
  }, { agentArgs: ["-connections", "2"] });
});

Deno.test("both programs tell their memory, and nothing of the process that they can't read", async () => {
  await withTunnel(async ({ relay, agent }) => {
    for (const address of [relay.internalAddress, agent.healthAddress]) {
      const samples = await scrape(address);
      ok(samples.get("process_resident_memory_bytes")! > 10_000_000);
      // Without all of Deno's permissions nothing below /proc can be read.
      for (const name of ["process_open_fds", "process_virtual_memory_bytes"]) {
        ok(samples.get(name) !== 0, `${name} is 0`);
      }
    }
  });
});

Deno.test("requests for a cluster whose agent is away count under its name, and no made-up names do", async () => {
  await withTunnel(async (tunnel) => {
    const before = await look(tunnel);
    for (const cluster of ["idle", "made-up", "made-up-too"]) {
      equal(statusOf(await tunnel.ask(requestHead("GET", `/tunnel/${cluster}/x`))), 502);
    }
    await untilGrown(tunnel, before, {
      'proxy_requests_total{cluster="idle",method="GET",code="502"}': 1,
      'proxy_requests_total{cluster="unknown",method="GET",code="502"}': 2,
    });
    const series = [...(await look(tunnel)).keys()];
    equal(series.filter((name) => name.includes("made-up")).length, 0);
  }, { absent: ["idle"] });
});

Deno.test("exceptions that are bugs are counted by what they ended", async () => {
  await withTunnel(async (tunnel) => {
    for (const address of [tunnel.relay.internalAddress, tunnel.agent.healthAddress]) {
      const samples = await scrape(address);
      for (const scope of ["connection", "session", "stream", "request", "process"]) {
        equal(samples.get(`culvert_faults_total{scope="${scope}"}`), 0);
      }
    }
  });
});
