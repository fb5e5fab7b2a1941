/** A relay of several workers, for system tests. */
import { equal } from "node:assert/strict";
import { okWith } from "../interop/contents.ts";
import { eventually, within } from "../support/deadline.ts";
import {
  type LogLine,
  type RelayOptions,
  type RunningRelay,
  startRelay,
} from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import { requestHead } from "../isolation/tunnel.ts";

/** A running relay and its processes. */
export interface RunningWorkers extends RunningRelay {
  /** The process of each worker, by its number. */
  readonly pids: ReadonlyMap<number, number>;
}

/** Starts a relay with workers, and waits until all of them listen. */
export async function startWorkers(
  workers: number,
  options: RelayOptions,
): Promise<RunningWorkers> {
  const args = ["--workers", String(workers), ...options.args ?? []];
  const relay = await startRelay({ ...options, args });
  try {
    await relay.waitForLog(({ message }) => message === "All workers are running");
    const lines = await relay.waitForLogs(workers, isStart);
    const pids = new Map(lines.map(({ worker, pid }) => [Number(worker), Number(pid)]));
    return { ...relay, pids };
  } catch (error) {
    await relay.kill();
    throw error;
  }
}

/** A worker's start, which its parent logs. */
export function isStart({ message }: LogLine): boolean {
  return message === "Worker started";
}

/** Whether a process is there: one that has ended and was not waited for is not. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    return !/^State:\s+[ZX]/m.test(await Deno.readTextFile(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** A caller's connection and the worker that has accepted it. */
export interface PlacedConnection {
  readonly connection: RawConnection;
  readonly worker: number;
}

/** Opens a connection, and asks for something small to learn which worker has it. */
export async function openPlaced(relay: RunningRelay): Promise<PlacedConnection> {
  const connection = await openConnection(relay.internalAddress);
  let id = "";
  // A worker learns a moment later than the agent that another one has its session.
  await eventually(async () => {
    id = crypto.randomUUID();
    await connection.write(requestHead("GET", "/small", [`X-Request-Id: ${id}`]));
    return statusOf(await within(readResponse(connection.reader), "an answer")) === 200;
  }, "an answer that places a connection");
  // The worker that holds the session logs it, too, and says from which relay it is.
  const { worker } = await relay.waitForLog(({ message, request_id, from_relay }) =>
    message === "Request" && request_id === id && from_relay === undefined
  );
  return { connection, worker: Number(worker) };
}

/** Opens connections until each worker has accepted one. */
export async function openAtEach(relay: RunningWorkers): Promise<PlacedConnection[]> {
  const placed: PlacedConnection[] = [];
  while (new Set(placed.map(({ worker }) => worker)).size < relay.pids.size) {
    placed.push(await openPlaced(relay));
  }
  return placed;
}

/** A target whose answers to `/held` end when the test says so; to all else it answers `small`. */
export class HeldTarget implements AsyncDisposable {
  /** Answers that have begun and not ended. */
  held = 0;
  readonly #target: RawTarget;
  readonly #released: PromiseWithResolvers<void>;

  private constructor(target: RawTarget, released: PromiseWithResolvers<void>) {
    this.#target = target;
    this.#released = released;
  }

  static async start(): Promise<HeldTarget> {
    const released = Promise.withResolvers<void>();
    let started: HeldTarget | undefined = undefined as HeldTarget | undefined;
    const raw = await startRawTarget(async (connection) => {
      while (!connection.isClosed) {
        const { startLine } = await readHead(connection.reader);
        if (!startLine.includes(" /held ")) {
          await connection.write(okWith("small"));
          continue;
        }
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun");
        started!.held++;
        await released.promise;
        await connection.write("ended");
      }
    });
    return started = new HeldTarget(raw, released);
  }

  get address(): string {
    return this.#target.address;
  }

  /** Ends all answers, and later ones at once. */
  release(): void {
    this.#released.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    await this.#target[Symbol.asyncDispose]();
  }
}

/** Asks for an answer that the target holds; it has begun when this returns. */
export async function beginHeld({ connection }: PlacedConnection): Promise<() => Promise<string>> {
  await connection.write(requestHead("GET", "/held"));
  equal(statusOf(await within(readHead(connection.reader), "an answer to begin")), 200);
  return async () => {
    const body = await within(connection.reader.readExactly(10), "an answer to end");
    return new TextDecoder().decode(body);
  };
}

/** Waits until a worker's first process has been replaced; returns the new one's number. */
export async function restarted(relay: RunningWorkers, worker: number): Promise<number> {
  const isNew = (line: LogLine) =>
    isStart(line) && line.worker === worker && line.pid !== relay.pids.get(worker);
  return Number((await relay.waitForLog(isNew)).pid);
}

/** Waits until all workers are ready together. */
export async function untilReady(relay: RunningRelay): Promise<void> {
  await eventually(async () => {
    const response = await fetch(`http://${relay.internalAddress}/readyz`, {
      headers: { connection: "close" },
    });
    await response.body?.cancel();
    return response.ok;
  }, "all workers to be ready");
}
