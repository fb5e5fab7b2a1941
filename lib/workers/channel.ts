/** Calls between a parent process and a worker, over whatever carries messages between them. */
import { messageOf } from "../message_of.ts";

/** What one side can be asked for, by name. Each call has one argument and one answer. */
// deno-lint-ignore no-explicit-any
export type Calls = Record<string, (argument: any) => unknown>;

type Argument<Call> = Call extends (argument: infer A) => unknown ? A : never;
type Answer<Call> = Call extends (argument: never) => infer R ? Awaited<R> : never;

/** What goes over the wire. All of it is JSON. */
export type Message =
  | { readonly call: number; readonly name: string; readonly argument: unknown }
  | { readonly reply: number; readonly result?: unknown; readonly error?: string };

/** What a channel is set up with. */
export interface ChannelOptions<Ours extends Calls> {
  /** Puts a message on the wire. It may throw where there is no other side any more. */
  readonly send: (message: Message) => void;
  /** Answers the other side's calls. */
  readonly calls: Ours;
}

/** How long an answer may take unless the call says otherwise, in milliseconds. */
const defaultTimeoutMs = 5_000;

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

/** One end of a wire. */
export class Channel<Theirs extends Calls, Ours extends Calls = Calls> {
  readonly #options: ChannelOptions<Ours>;
  readonly #pending = new Map<number, Pending>();
  #lastCall = 0;
  #closed: Error | undefined;

  constructor(options: ChannelOptions<Ours>) {
    this.#options = options;
  }

  /**
   * Asks the other side.
   *
   * @param timeoutMs for the answer, in milliseconds; Infinity waits as long as the other side is there
   * @throws what the other side throws, and for an answer that is late or can't come any more
   */
  call<Name extends keyof Theirs & string>(
    name: Name,
    argument: Argument<Theirs[Name]>,
    timeoutMs: number = defaultTimeoutMs,
  ): Promise<Answer<Theirs[Name]>> {
    if (this.#closed) return Promise.reject(this.#closed);
    const call = ++this.#lastCall;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = timeoutMs === Infinity ? undefined : setTimeout(() => {
      this.#pending.delete(call);
      reject(new Error(`No answer to ${name} within ${timeoutMs} ms`));
    }, timeoutMs);
    this.#pending.set(call, { resolve, reject, timer });
    try {
      this.#options.send({ call, name, argument });
    } catch (error) {
      this.#take(call)?.reject(error as Error);
    }
    return promise as Promise<Answer<Theirs[Name]>>;
  }

  /** Takes a message from the wire. */
  received(message: Message): void {
    if ("call" in message) return void this.#answer(message.call, message.name, message.argument);
    const pending = this.#take(message.reply);
    if (message.error === undefined) pending?.resolve(message.result);
    else pending?.reject(new Error(message.error));
  }

  /** There is no other side any more: calls that wait, and all later ones, fail. */
  close(reason: string): void {
    this.#closed ??= new Error(reason);
    for (const call of [...this.#pending.keys()]) this.#take(call)!.reject(this.#closed);
  }

  #take(call: number): Pending | undefined {
    const pending = this.#pending.get(call);
    this.#pending.delete(call);
    clearTimeout(pending?.timer);
    return pending;
  }

  async #answer(reply: number, name: string, argument: unknown): Promise<void> {
    let message: Message;
    try {
      const call = this.#options.calls[name];
      if (!call) throw new Error(`There is no call ${JSON.stringify(name)}`);
      message = { reply, result: await call(argument) };
    } catch (error) {
      message = { reply, error: messageOf(error) };
    }
    if (this.#closed) return;
    try {
      this.#options.send(message);
    } catch {
      // Whoever asked has gone meanwhile; that it has ended is told elsewhere.
    }
  }
}
