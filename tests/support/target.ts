/**
 * A target whose every byte the test decides: it listens on a port of its own, hands each connection
 * to the test's handler and keeps what the connection received.
 */
import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { UnexpectedEndError } from "./byte_reader.ts";
import { DEFAULT_DEADLINE_MS, eventually } from "./deadline.ts";
import { refusingPort } from "./free_port.ts";
import { ConnectionGoneError, RawConnection } from "./raw_connection.ts";
import { type RawMessage, readRequest } from "./raw_http.ts";

/** Speaks the target's side of one connection; what it throws is rethrown when the target ends. */
export type TargetHandler = (connection: RawConnection) => Promise<void> | void;

/** Answers one request: bytes to send as they are, or a function that writes to the connection. */
export type TargetAnswer =
  | Uint8Array
  | string
  | ((
    request: RawMessage,
    connection: RawConnection,
  ) => Uint8Array | string | void | Promise<Uint8Array | string | void>);

/** A listening target. Disposing it ends its connections and reports what its handlers threw. */
export interface RawTarget extends AsyncDisposable {
  /** `host:port`, as in a clusters file's `targetAddr`. */
  readonly address: string;
  /** Every connection ever accepted, in order. */
  readonly connections: readonly RawConnection[];
  /** The connection number `index` (from 0), awaited if it has not come yet. */
  connection(index: number, timeoutMs?: number): Promise<RawConnection>;
}

/** Starts a target on a free loopback port. */
export async function startRawTarget(handler: TargetHandler): Promise<RawTarget> {
  const connections: RawConnection[] = [];
  const failures: unknown[] = [];
  const handled: Promise<void>[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    const connection = new RawConnection(socket);
    connections.push(connection);
    handled.push(handle(handler, connection, failures));
  });
  const address = await listen(server);
  return {
    address,
    connections,
    async connection(index, timeoutMs = DEFAULT_DEADLINE_MS) {
      await eventually(
        () => connections.length > index,
        () => `connection ${index} at the target (${connections.length} so far)`,
        timeoutMs,
      );
      return connections[index]!;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const connection of connections) await connection[Symbol.asyncDispose]();
      await Promise.all([closed, ...handled]);
      if (failures.length > 0) throw new AggregateError(failures, "Target handlers failed");
    },
  };
}

/**
 * A handler that keeps the connection alive: it reads one request after another and sends each its
 * answer, until the other side ends.
 */
export function answering(answer: TargetAnswer): TargetHandler {
  return async (connection) => {
    while (!connection.isClosed) {
      const request = await readRequest(connection.reader);
      const bytes = typeof answer === "function" ? await answer(request, connection) : answer;
      if (bytes) await connection.write(bytes);
    }
  };
}

/** A loopback address where nothing listens: connecting to it is refused. */
export function refusingAddress(): string {
  return `127.0.0.1:${refusingPort()}`;
}

async function listen(server: Server): Promise<string> {
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("Target has no TCP address");
  return `127.0.0.1:${bound.port}`;
}

/**
 * Runs a handler to its end. The other side may leave at any time, and what a test has to say about
 * that it asserts itself; whatever else a handler throws is a failure.
 */
async function handle(
  handler: TargetHandler,
  connection: RawConnection,
  failures: unknown[],
): Promise<void> {
  try {
    await handler(connection);
  } catch (error) {
    const hasPeerLeft = error instanceof UnexpectedEndError || error instanceof ConnectionGoneError;
    if (!hasPeerLeft) failures.push(error);
    connection.destroy();
  }
}
