/** Reads a ClientHello off a connection and leaves it there, before anybody answers it. */
import type { Socket } from "node:net";
import { ByteBuffer } from "../../../bytes/byte_buffer.ts";
import { type ClientHello, readClientHello } from "../../../net/client_hello.ts";
import { readPreamble } from "./preamble.ts";

/** Who hears what came of it: one of these, unless the peer goes away before. */
export interface ClientHelloEvents {
  /** It is still to be read from the socket, with what came behind it. */
  read(hello: ClientHello): void;
  /** What came is still to be read: whoever speaks TLS says why it is none. */
  invalid(): void;
  /** Not in time; `bytes` is how many have come. */
  timeout(bytes: number): void;
}

/** Reads a ClientHello. The connection does not flow when this is over. */
export function awaitClientHello(
  socket: Socket,
  timeoutMs: number,
  events: ClientHelloEvents,
): void {
  const buffer = new ByteBuffer();
  let needed = 1;
  const stop = readPreamble(socket, timeoutMs, {
    timeout: () => events.timeout(buffer.length),
    receive(more) {
      buffer.append(more);
      if (buffer.length < needed) return;
      const bytes = buffer.take();
      const result = readClientHello(bytes);
      if (result.kind === "incomplete") {
        needed = result.needed;
        buffer.append(bytes);
        return;
      }
      stop();
      socket.unshift(bytes);
      if (result.kind === "hello") events.read(result.hello);
      else events.invalid();
    },
  });
  socket.resume();
}
