/**
 * Requests that nobody waits for any more, or that will never be answered: they leave both sides'
 * tables, and their places in them, at once. The tables are kept small here, so that a place that
 * was not given back would be missed.
 */
import { deepEqual, equal } from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { loopbackCertificate } from "../support/certificates.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { uploadBytes } from "./service.ts";
import { ask, askSmall, call, metric, type Tunnel, untilOpen, withTunnel } from "./tunnel.ts";

/** Streams that may be open at once. */
const places = 4;
const smallTables = {
  relayArgs: ["-max-streams", String(places)],
  agentArgs: ["-max-conns", String(places)],
};

Deno.test("a target that accepts and never answers", async (t) => {
  const relayArgs = [...smallTables.relayArgs, "-response-timeout", "1s"];
  await withTunnel({ ...smallTables, relayArgs }, async (tunnel) => {
    const { relay, target } = tunnel;

    await t.step("its callers get 504 in time, and others are served meanwhile", async () => {
      const silent = Array.from({ length: places - 1 }, () => ask(relay, "/silent"));
      await untilOpen(tunnel, places - 1);
      await askSmall(relay);
      for (const answer of await Promise.all(silent)) {
        equal(statusOf(answer), 504);
        const { error } = JSON.parse(new TextDecoder().decode(answer.body));
        deepEqual(error, { code: "timeout", message: "the target did not respond in time" });
      }
    });

    await t.step("the requests at the target end too, and their places are free", async () => {
      await untilOpen(tunnel, 0);
      await eventually(
        () => target.connections.filter(({ isClosed }) => !isClosed).length <= 1,
        "the silent requests' connections to end",
      );
      await fillAllPlaces(tunnel);
    });

    await t.step("a body may take longer than the timeout", async () => {
      await using caller = await call(relay, "GET", "/half");
      equal(statusOf(await within(readHead(caller.reader), "the head")), 200);
      await delay(2_000);
      equal(caller.isClosed || caller.isEnded, false);
    });
  });
});

Deno.test("a caller that vanishes in the middle of its upload", async (t) => {
  await withTunnel(smallTables, async (tunnel) => {
    const { relay, target } = tunnel;

    for (const [how, leave] of Object.entries(waysToLeave)) {
      await t.step(
        `${how}: the target's connection ends at once, the tables are empty`,
        async () => {
          const known = target.connections.length;
          const uploads: RawConnection[] = [];
          for (let index = 0; index < places; index++) {
            const fields = [`Content-Length: ${uploadBytes.length}`];
            const caller = await call(relay, "PUT", "/upload", fields);
            await caller.write(uploadBytes.subarray(0, uploadBytes.length / 2));
            uploads.push(caller);
          }
          await untilOpen(tunnel, places);
          for (const caller of uploads) leave(caller);
          await untilOpen(tunnel, 0);
          const ended = target.connections.slice(known).map(({ closed }) => closed);
          await within(Promise.all(ended), "the uploads at the target to end");
          for (const caller of uploads) await caller[Symbol.asyncDispose]();
        },
      );
    }

    await t.step("the next requests are right", () => fillAllPlaces(tunnel));
  });
});

/** How a caller may go away. */
const waysToLeave: Readonly<Record<string, (caller: RawConnection) => void>> = {
  "with a reset": (caller) => caller.reset(),
  "by closing": (caller) => caller.destroy(),
};

Deno.test("a request that is abandoned while the agent still dials leaves nothing behind", async () => {
  await abandonDials(["-insecure"], async ({ agent, target }) => {
    const ended = target.connections.map(({ closed }) => closed);
    await within(Promise.all(ended), "the abandoned dials to be given up");
    await untilEqual(() => metric(agent.healthAddress, "agent_upstream_errors_total"), 0);
  });
});

Deno.test("a request that is abandoned while the agent still verifies its target leaves the tables", async () => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-dial-" });
  try {
    const caPath = `${folder}/ca.crt`;
    await Deno.writeTextFile(caPath, (await loopbackCertificate()).ca);
    // Deno 2.9.6 keeps a connection whose TLS handshake is given up until its peer ends it.
    await abandonDials(["-ca-cert", caPath], async ({ target }) => {
      await Promise.all(target.connections.map((connection) => connection[Symbol.asyncDispose]()));
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Abandons requests again and again: TLS that is never answered keeps the agent dialling. */
async function abandonDials(
  tlsArgs: readonly string[],
  checkTarget: (tunnel: Tunnel) => Promise<void>,
): Promise<void> {
  const options = {
    ...smallTables,
    agentArgs: [...smallTables.agentArgs, ...tlsArgs, "-dial-timeout", "5m"],
    agent: { usesTlsTarget: true },
    target: async (connection: RawConnection) => {
      for await (const _bytes of connection.reader);
      connection.end();
    },
  };
  await withTunnel(options, async (tunnel) => {
    const { relay, target } = tunnel;
    for (let round = 1; round <= 3; round++) {
      const callers: RawConnection[] = [];
      for (let index = 0; index < places; index++) callers.push(await call(relay, "GET", "/"));
      await untilOpen(tunnel, places);
      await target.connection(round * places - 1);
      for (const caller of callers) await caller[Symbol.asyncDispose]();
      await untilOpen(tunnel, 0);
    }
    await checkTarget(tunnel);
  });
}

/** As many requests at once as both tables have places, each with its own right answer. */
async function fillAllPlaces(tunnel: Tunnel): Promise<void> {
  const halves: RawConnection[] = [];
  try {
    for (let index = 0; index < places - 1; index++) {
      const caller = await call(tunnel.relay, "GET", "/half");
      halves.push(caller);
      equal(statusOf(await within(readHead(caller.reader), "an answer's head")), 200);
    }
    await untilOpen(tunnel, places - 1);
    await askSmall(tunnel.relay);
  } finally {
    for (const caller of halves) await caller[Symbol.asyncDispose]();
  }
  await untilOpen(tunnel, 0);
}
