/** WebSocket traffic of a soak: messages out, the same messages back, an orderly close. */
import type { JobContext } from "./jobs.ts";
import { areEqual } from "./bytes.ts";
import { CleanFailureError, WrongAnswerError } from "./outcome.ts";

const MAX_MESSAGES = 20;
const MAX_MESSAGE_BYTES = 100_000;

/** Opens a WebSocket to the target's echo, exchanges messages and closes it. */
export async function exchangeOverWebSocket(context: JobContext): Promise<void> {
  const { baseUrl, random, id, signal } = context;
  const socket = new WebSocket(`${baseUrl.replace(/^http/, "ws")}/ws?id=${id}`);
  socket.binaryType = "arraybuffer";
  const giveUp = () => socket.close();
  signal.addEventListener("abort", giveUp, { once: true });
  const inbox = new Inbox(socket);
  try {
    await inbox.opened;
    for (let left = random.integer(1, MAX_MESSAGES); left > 0; left--) {
      await exchange(socket, inbox, context);
    }
    socket.close(1000, "Done");
    await inbox.closed;
  } finally {
    signal.removeEventListener("abort", giveUp);
    socket.close();
  }
}

async function exchange(
  socket: WebSocket,
  inbox: Inbox,
  { random, id }: JobContext,
): Promise<void> {
  if (random.chance(0.5)) {
    const text = `${id} ${random.uint32()}`;
    socket.send(text);
    const answer = await inbox.next();
    if (answer !== text) throw new WrongAnswerError("WebSocket text came back changed");
    return;
  }
  const bytes = random.bytes(random.size(MAX_MESSAGE_BYTES));
  socket.send(bytes);
  const answer = await inbox.next();
  if (!(answer instanceof ArrayBuffer) || !areEqual(new Uint8Array(answer), bytes)) {
    throw new WrongAnswerError("WebSocket bytes came back changed");
  }
}

/** What a socket receives, for one reader that waits. */
class Inbox {
  /** Resolves when the socket is open; rejects when it fails before. */
  readonly opened: Promise<void>;
  /** Resolves when the socket has closed after this side asked for it. */
  readonly closed: Promise<void>;

  readonly #messages: unknown[] = [];
  readonly #gone: Promise<never>;
  #arrived = Promise.withResolvers<void>();

  constructor(socket: WebSocket) {
    const open = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<never>();
    let failure = "";
    socket.addEventListener("open", () => open.resolve());
    socket.addEventListener("error", (event) => {
      failure = event instanceof ErrorEvent ? event.message : "WebSocket failed";
    });
    socket.addEventListener("close", ({ code, wasClean }) => {
      if (wasClean) closed.resolve();
      gone.reject(new CleanFailureError(failure || `WebSocket closed with ${code}`));
    });
    socket.addEventListener("message", ({ data }) => {
      this.#messages.push(data);
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers<void>();
    });
    this.#gone = gone.promise;
    this.#gone.catch(() => undefined); // the socket may go when nobody waits any more
    this.opened = Promise.race([open.promise, this.#gone]);
    this.closed = Promise.race([closed.promise, this.#gone]);
    for (const promise of [this.opened, this.closed]) promise.catch(() => undefined);
  }

  /** The next message; rejects when the socket goes before it. */
  async next(): Promise<unknown> {
    while (this.#messages.length === 0) {
      await Promise.race([this.#arrived.promise, this.#gone]);
    }
    return this.#messages.shift();
  }
}
