/**
 * The end of an answer that a caller takes slowly: what was handed to its connection still arrives,
 * however long the caller takes, though for the relay the request is over.
 */
import { deepEqual, equal } from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { bulkBytes, sha256 } from "../interop/contents.ts";
import { within } from "../support/deadline.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { type ConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";

/** More than the system's socket buffers hold between two programs of one machine. */
const answer = bulkBytes(32 * 1024 * 1024);

/** So short that the server would give up the connection at its next look at its deadlines. */
const timeouts: ConnectionTimeouts = { headMs: 50, idleMs: 50, lingerMs: 50, stallMs: 0 };
/** The server looks at them once a second. */
const stallMs = 2_500;

for (const [what, fields] of [["closes", "Connection: close\r\n"], ["stays open", ""]] as const) {
  Deno.test(`a caller whose connection ${what} gets its answer's last bytes after a stall`, async () => {
    const faults: unknown[] = [];
    const server = new HttpServer({
      fetch: (_request, { exchange, alreadyAnswered }) => {
        exchange.answer(200, "OK", [], answer);
        return alreadyAnswered;
      },
      limits: defaultHeadLimits,
      connections: { max: 0, maxPerAddress: 0 },
      timeouts,
      fault: (error) => faults.push(error),
    });
    const { hostname, port } = await server.listen("127.0.0.1", 0);
    try {
      await using caller = await openConnection(`${hostname}:${port}`);
      await caller.write(`GET / HTTP/1.1\r\nHost: relay\r\n${fields}\r\n`);
      equal(statusOf(await readHead(caller.reader)), 200);
      await delay(stallMs);

      const body = await within(caller.reader.readExactly(answer.length), "the whole answer");
      equal(sha256(body), sha256(answer));
      deepEqual(faults, []);
    } finally {
      server.close();
    }
  });
}
