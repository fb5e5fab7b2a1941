/** The target of the isolation tests: a path for each way in which a target may behave. */
import { bulkBytes, BulkContent, digestOf, okWith, taking } from "../interop/contents.ts";
import { concatBytes } from "../support/byte_reader.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { fieldValues, type RawHead, readHead } from "../support/raw_http.ts";
import type { TargetHandler } from "../support/target.ts";

/** Pieces of 64 KiB in {@link download}. */
const DOWNLOAD_CHUNKS = 1024;

/** What `/download` and `/chunked` send: 64 MiB, more than all buffers on the way can hold. */
export const download = new BulkContent(DOWNLOAD_CHUNKS);

/** What `/piece` sends: more than the tunnel holds of a stream, and little for the system. */
export const piece = bulkBytes(512 * 1024, 3);

/** What the test sends to `/upload`. */
export const uploadBytes = bulkBytes(4 * 1024 * 1024, 7);

const encoder = new TextEncoder();
const crlf = encoder.encode("\r\n");

type Route = (connection: RawConnection, head: RawHead) => Promise<void>;

const routes: Readonly<Record<string, Route>> = {
  "/small": (connection) => connection.write(okWith("small")),
  "/download": async (connection) => {
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${download.length}\r\n\r\n`);
    for (const chunk of download) await connection.write(chunk);
  },
  "/chunked": async (connection) => {
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const chunk of download) {
      const size = encoder.encode(`${chunk.length.toString(16)}\r\n`);
      await connection.write(concatBytes([size, chunk, crlf]));
    }
    await connection.write("0\r\n\r\n");
  },
  // A body without framing, which lasts until the connection ends.
  "/endless": async (connection) => {
    await connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    while (!connection.isClosed) for (const chunk of download) await connection.write(chunk);
  },
  "/piece": (connection) => connection.write(okWith(piece)),
  "/upload": async (connection, head) => {
    const length = Number(fieldValues(head, "content-length")[0]);
    const digest = await digestOf(taking(connection.reader, length));
    await connection.write(okWith(digest.checksum));
  },
  // Reads what comes and never says a word.
  "/silent": (connection) => untilGone(connection),
  // Reads nothing behind the head.
  "/unread": async (connection) => {
    await connection.closed;
  },
  // Answers before the request's body has come, and then has nothing more to say.
  "/early": async (connection) => {
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    await untilGone(connection);
  },
  // Answers, and holds the connection open in the middle of the body.
  "/half": async (connection) => {
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.");
    await untilGone(connection);
  },
  // Breaks off in the middle of a body that has no length.
  "/broken": async (connection) => {
    await connection.write(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf.\r\n",
    );
    connection.reset();
  },
  // Changes protocols and sends back what it gets, until both sides have ended.
  "/echo": async (connection) => {
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    for await (const bytes of connection.reader) await connection.write(bytes);
    await connection.write("goodbye");
    connection.end();
    await connection.closed;
  },
};

/** Answers requests one after the other on a connection, each by its path. */
export const service: TargetHandler = async (connection) => {
  while (!connection.isClosed) {
    const head = await readHead(connection.reader);
    const path = head.startLine.split(" ")[1] ?? "";
    const route = routes[path];
    if (!route) throw new Error(`No such path at the target: ${head.startLine}`);
    try {
      await route(connection, head);
    } catch (error) {
      if (!isReset(error)) throw error;
      return; // The agent gave the request up: what the tests have to say about it they say.
    }
  }
};

function isReset(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    (error.code === "ECONNRESET" || error.code === "EPIPE");
}

async function untilGone(connection: RawConnection): Promise<void> {
  for await (const _bytes of connection.reader);
  connection.destroy();
}
