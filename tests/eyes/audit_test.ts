/** `--audit-log` and `--audit-fail`: no record, no request. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  CLUSTER,
  okWith,
  requestHead,
  type Tunnel,
  tunnelled,
  withTunnel,
} from "../http/tunnel.ts";
import { bodyText, latin1, statusOf, valuesOf } from "../http/wire.ts";
import { eventually } from "../support/deadline.ts";
import { type LogLine, runProgram, unbound } from "../support/programs.ts";
import { ConnectionGoneError } from "../support/raw_connection.ts";

type Record = { readonly [field: string]: unknown };

/** An audit log in a folder of its own. */
class AuditLog implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = `${folder}/audit.log`;
  }

  static async create(): Promise<AuditLog> {
    return new AuditLog(await Deno.makeTempDir({ prefix: "culvert-audit-" }));
  }

  /** The records of requests for this path, in order. */
  async of(path: string): Promise<Record[]> {
    const text = await Deno.readTextFile(this.path);
    const records: Record[] = text.split("\n").filter((line) => line !== "")
      .map((line) => JSON.parse(line));
    return records.filter((record) => record["path"] === path);
  }

  /** From now on writing fails as on a full disk, until {@link repair}. */
  async breakDown(tunnel: Tunnel): Promise<void> {
    await Deno.rename(this.path, `${this.path}.1`);
    await Deno.symlink("/dev/full", this.path);
    Deno.kill(tunnel.relay.program.pid, "SIGHUP");
    await this.#asked(tunnel, 503);
  }

  async repair(tunnel: Tunnel): Promise<void> {
    await Deno.remove(this.path);
    Deno.kill(tunnel.relay.program.pid, "SIGHUP");
    await this.#asked(tunnel, 200);
  }

  #asked(tunnel: Tunnel, status: number): Promise<void> {
    const request = requestHead("GET", tunnelled("/probe"));
    const isAnswered = async (): Promise<boolean> => {
      try {
        return statusOf(await tunnel.ask(request)) === status;
      } catch (error) {
        // Its start was written before the change and its end was not: the answer was cut.
        if (error instanceof ConnectionGoneError) return false;
        throw error;
      }
    };
    return eventually(isAnswered, `an answer with status ${status}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** A tunnel whose relay audits. */
async function withAudit(
  test: (tunnel: Tunnel, audit: AuditLog) => Promise<void>,
  args: readonly string[] = [],
): Promise<void> {
  await using audit = await AuditLog.create();
  const relayArgs = ["--audit-log", audit.path, ...args];
  await withTunnel((tunnel) => test(tunnel, audit), { relayArgs, relayEnv: unbound });
}

Deno.test("the audit log has who did what, before it is done and before it is answered", async (t) => {
  await withAudit(async (tunnel, audit) => {
    await tunnel.step(t, "a request has its start and its end", async () => {
      const fields = [
        "Content-Length: 4",
        "X-Request-Id: audited-1",
        "Authorization: Bearer s3cret",
      ];
      await tunnel.ask(requestHead("POST", tunnelled("/one?token=s3cret"), fields), "four");
      const [start, end, ...more] = await audit.of("/one");
      deepEqual(more, []);
      const { time, instance, token_name, ...begun } = start!;
      equal(typeof token_name, "string");
      match(String(time), /^\d{4}-\d\d-\d\dT.*Z$/);
      match(String(instance), /^[0-9a-f-]{36}$/);
      const about = {
        request_id: "audited-1",
        caller: "network",
        caller_kind: "network",
        address: "127.0.0.1",
        cluster: CLUSTER,
        method: "POST",
        path: "/one",
      };
      deepEqual(begun, { event: "start", ...about, decision: "allowed" });
      const { time: endTime, ms, ...ended } = end!;
      ok(String(endTime) >= String(time) && typeof ms === "number");
      deepEqual(ended, {
        event: "end",
        ...about,
        instance,
        token_name,
        status: 200,
        bytes_in: 4,
        bytes: "POST /one?token=s3cret".length,
        complete: true,
      });
      ok(!(await Deno.readTextFile(audit.path)).includes("s3cret"));
    });

    await tunnel.step(
      t,
      "the start is there when the target is asked, the end is not",
      async () => {
        const seen: Record[][] = [];
        tunnel.scripts.set("/order", async ({ connection, request }) => {
          await request();
          seen.push(await audit.of("/order"));
          await connection.write(okWith("ok"));
        });
        for (let round = 0; round < 20; round++) {
          await tunnel.ask(requestHead("GET", tunnelled("/order")));
          // The answer was whole: its record must be there by now.
          const events = (await audit.of("/order")).map(({ event }) => event);
          deepEqual(events, Array.from({ length: round + 1 }, () => ["start", "end"]).flat());
        }
        for (const [round, records] of seen.entries()) {
          equal(records.length, 2 * round + 1);
          equal(records.at(-1)!["event"], "start");
        }
      },
    );

    await tunnel.step(
      t,
      "long answers, chunked ones and bodiless ones arrive as they were",
      async () => {
        const long = "x".repeat(300_000);
        tunnel.scripts.set("/long", async ({ connection, request }) => {
          await request();
          await connection.write(okWith(long));
        });
        tunnel.scripts.set("/chunks", async ({ connection, request }) => {
          await request();
          await connection.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
          );
        });
        tunnel.scripts.set("/none", async ({ connection, request }) => {
          await request();
          await connection.write("HTTP/1.1 204 No Content\r\n\r\n");
        });
        await using caller = await tunnel.caller();
        const bodies = [["/long", long], ["/chunks", "abcde"], ["/none", ""], ["/chunks", "abcde"]];
        for (const [path, body] of bodies) {
          await caller.write(requestHead("GET", tunnelled(path!)));
          equal(bodyText(await tunnel.answerOn(caller)), body);
        }
        const [, end] = await audit.of("/long");
        equal(end!["bytes"], long.length);
      },
    );

    await tunnel.step(t, "a request that is refused has one record", async () => {
      equal(statusOf(await tunnel.ask(requestHead("GET", "/tunnel/absent/denied"))), 502);
      const [denied, ...more] = await audit.of("/denied");
      deepEqual(more, []);
      deepEqual([denied!["event"], denied!["decision"], denied!["status"], denied!["code"]], [
        "denied",
        "denied",
        502,
        "cluster_not_available",
      ]);
    });

    await tunnel.step(t, "a failure has the code of the relay's answer", async () => {
      tunnel.scripts.set("/broken", async ({ connection, request }) => {
        await request();
        await connection.write("HTTP/9 what\r\n\r\n");
      });
      equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled("/broken")))), 502);
      const [, end] = await audit.of("/broken");
      deepEqual([end!["status"], end!["code"]], [502, "protocol"]);
    });

    await tunnel.step(t, "a caller that goes away leaves an end that is not complete", async () => {
      const asked = Promise.withResolvers<void>();
      tunnel.scripts.set("/left", async ({ connection, request }) => {
        await request();
        asked.resolve();
        await connection.reader.readToEnd();
      });
      const caller = await tunnel.caller();
      await caller.write(requestHead("GET", tunnelled("/left")));
      await asked.promise;
      caller.destroy();
      await eventually(async () => (await audit.of("/left")).length === 2, "the end's record");
      const [, end] = await audit.of("/left");
      deepEqual([end!["status"], end!["complete"]], [0, false]);
    });

    await tunnel.step(
      t,
      "an exec session: a start before its 101, an end after its last byte",
      async () => {
        let atTarget: Record[] = [];
        tunnel.scripts.set("/exec", async ({ connection }) => {
          atTarget = await audit.of("/exec");
          await connection.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
          );
          await connection.reader.readExactly(3);
          await connection.write("fine");
          connection.end();
        });
        await using caller = await tunnel.caller();
        const fields = ["Connection: Upgrade", "Upgrade: x"];
        await caller.write(latin1(requestHead("GET", tunnelled("/exec"), fields)));
        await caller.reader.readUntil("\r\n\r\n");
        deepEqual(atTarget.map(({ event, upgrade }) => [event, upgrade]), [["start", "x"]]);
        equal((await audit.of("/exec")).length, 1);
        await caller.write(latin1("abc"));
        await caller.reader.readToEnd();
        caller.end();
        await eventually(async () => (await audit.of("/exec")).length === 2, "the end's record");
        const [, end] = await audit.of("/exec");
        deepEqual([end!["event"], end!["status"], end!["bytes_in"], end!["bytes"]], [
          "end",
          101,
          3,
          4,
        ]);
      },
    );

    await tunnel.step(t, "no path can forge a record", async () => {
      const path = '/forged","event":"end"}\x9b2J';
      await tunnel.ask(requestHead("GET", tunnelled(path)));
      equal((await audit.of(path)).length, 2);
    });
  });
});

Deno.test("--audit-fail closed: what can't be recorded is not done", async (t) => {
  await withAudit(async (tunnel, audit) => {
    const paths: string[] = [];
    tunnel.scripts.otherwise = async ({ head, connection, request }) => {
      await request();
      paths.push(head.startLine);
      await connection.write(okWith("ok"));
    };
    await tunnel.ask(requestHead("GET", tunnelled("/before")));
    // An answer is open while the disk fills up.
    const gate = Promise.withResolvers<void>();
    tunnel.scripts.set("/open", async ({ connection, request }) => {
      await request();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
      await gate.promise;
      await connection.write("-last");
    });
    await using open = await tunnel.caller();
    await open.write(requestHead("GET", tunnelled("/open")));
    await open.reader.readUntil("first");
    await audit.breakDown(tunnel);
    paths.length = 0;

    await tunnel.step(t, "a request gets 503, and nothing of it reaches the target", async () => {
      for (const body of ["", "a body"]) {
        const fields = [`Content-Length: ${body.length}`];
        const answer = await tunnel.ask(requestHead("POST", tunnelled("/refused"), fields), body);
        equal(statusOf(answer), 503);
        deepEqual(valuesOf(answer, "retry-after"), ["1"]);
        deepEqual(JSON.parse(bodyText(answer)).error, {
          code: "audit",
          message: "the relay can't record the request",
        });
      }
      deepEqual(paths, []);
    });

    await tunnel.step(t, "so does an upgrade", async () => {
      const fields = ["Connection: Upgrade", "Upgrade: x"];
      const answer = await tunnel.ask(requestHead("GET", tunnelled("/refused"), fields));
      equal(statusOf(answer), 503);
      deepEqual(paths, []);
    });

    await tunnel.step(
      t,
      "and one that is refused anyway, as the refusal has no record",
      async () => {
        const answer = await tunnel.ask(requestHead("GET", "/tunnel/absent/denied"));
        deepEqual([statusOf(answer), JSON.parse(bodyText(answer)).error.code], [503, "audit"]);
      },
    );

    await tunnel.step(t, "an answer that was open is cut before its end", async () => {
      gate.resolve();
      let isCut = false;
      try {
        await open.reader.readToEnd();
      } catch (error) {
        isCut = error instanceof ConnectionGoneError;
      }
      ok(isCut, "the connection is reset");
      ok(open.receivedText.endsWith("first"), open.receivedText);
    });

    await tunnel.step(t, "log, metrics and probes say so, and probes go on", async () => {
      const line = await tunnel.relay.waitForLog(
        ({ message }) => message === "The audit log can't be written",
      );
      deepEqual([line.level, line["requests"]], ["error", "refused"]);
      match(String(line["error"]), /[Nn]o space left/);
      const metrics = await (await fetch(`http://${tunnel.relay.internalAddress}/metrics`)).text();
      const [, count] = /^culvert_audit_failures_total (\d+)$/m.exec(metrics)!;
      ok(Number(count) >= 5, `${count} failures`);
    });

    await tunnel.step(t, "requests go on when there is room again", async () => {
      await audit.repair(tunnel);
      equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled("/after")))), 200);
      deepEqual((await audit.of("/after")).map(({ event }) => event), ["start", "end"]);
      await tunnel.relay.waitForLog(({ message }) =>
        message === "The audit log can be written again"
      );
    });
  });
});

Deno.test("--audit-fail open: requests go on without their records", async () => {
  await using audit = await AuditLog.create();
  await Deno.symlink("/dev/full", audit.path);
  await withTunnel(async (tunnel) => {
    for (let round = 0; round < 3; round++) {
      equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled("/on")))), 200);
    }
    const line = await tunnel.relay.waitForLog(({ message }) =>
      message === "The audit log can't be written"
    );
    equal(line["requests"], "not recorded");
    const metrics = await (await fetch(`http://${tunnel.relay.internalAddress}/metrics`)).text();
    match(metrics, /^culvert_audit_failures_total 6$/m);
  }, { relayArgs: ["--audit-log", audit.path, "--audit-fail", "open"], relayEnv: unbound });
});

Deno.test("the audit log names callers, and says why one was not let in", async () => {
  const token = "a-caller-token-0123456789";
  const tokens = JSON.stringify([{ name: "ci", token, clusters: [CLUSTER] }]);
  await withAudit(async (tunnel, audit) => {
    const asked = (path: string, cluster: string, fields: readonly string[]) =>
      tunnel.ask(requestHead("GET", `/tunnel/${cluster}${path}`, fields));
    const mine = [`Authorization: Bearer ${token}`];
    equal(statusOf(await asked("/mine", CLUSTER, mine)), 200);
    equal(statusOf(await asked("/nobody", CLUSTER, [])), 401);
    equal(statusOf(await asked("/foreign", "another", mine)), 403);
    const seen = async (path: string) =>
      (await audit.of(path)).map((record) =>
        ["event", "caller", "caller_kind", "status", "reason"].map((field) => record[field])
      );
    deepEqual(await seen("/mine"), [
      ["start", "ci", "token", undefined, undefined],
      ["end", "ci", "token", 200, undefined],
    ]);
    deepEqual(await seen("/nobody"), [["denied", undefined, undefined, 401, "missing"]]);
    deepEqual(await seen("/foreign"), [["denied", "ci", "token", 403, "cluster"]]);
    ok(!(await Deno.readTextFile(audit.path)).includes(token));
  }, ["--callers", "known", "--caller-tokens", tokens]);
});

Deno.test("--audit-log - writes to standard output", async () => {
  await withTunnel(async (tunnel) => {
    await tunnel.ask(requestHead("GET", tunnelled("/out")));
    // What is no line of the log is kept whole as a message.
    const isRecord = ({ message }: LogLine) => message.includes('"path":"/out"');
    const records = await tunnel.relay.waitForLogs(2, isRecord);
    deepEqual(records.map(({ message }) => JSON.parse(message)["event"]), ["start", "end"]);
  }, { relayArgs: ["--audit-log", "-"] });
});

Deno.test("--audit-log: a file that can't be opened is refused at start", async () => {
  const clusters = '[{"id":"a","token":"a-token-0123456789abc","targetAddr":"127.0.0.1:1"}]';
  const { code, stderr, stdout } = await runProgram("relay.ts", [
    ...["-clusters", clusters, "-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0"],
    ...["--audit-log", "/nowhere/audit.log"],
  ]);
  deepEqual([code, stdout], [2, ""]);
  match(
    stderr,
    /^relay: Option --audit-log: can't open "\/nowhere\/audit\.log" for writing: .*\n$/,
  );
});
